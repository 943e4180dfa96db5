// One canvas for all images of the page, moved to where it is looked at: browsers allow few that draw in 3-D.
{
  const rooms = [...document.querySelectorAll('.solid')];
  const place = rooms[0].dataset.library;
  const WHITE = 1.2;
  let space = null;
  let library = null;

  function tell(box, words) {
    const line = box.querySelector('.untold');
    line.textContent = words;
    line.hidden = !words;
    box.classList.toggle('mute', Boolean(words));
  }

  function drawsInSpace() {
    const context = document.createElement('canvas').getContext('webgl2');
    if (context) context.getExtension('WEBGL_lose_context')?.loseContext();
    return Boolean(context);
  }

  function load() {
    library ??= new Promise((resolve, reject) => {
      const script = document.createElement('script');
      const missing = () => reject(new Error(`The viewer is not here: the file ${place} must lie beside this page. The other views need nothing.`));
      script.onload = () => (globalThis.niivue ? resolve(globalThis.niivue) : missing());
      script.onerror = missing;
      script.src = place;
      document.head.append(script);
    });
    return library;
  }

  async function start(box) {
    if (!drawsInSpace()) throw new Error('This browser offers no WebGL 2 here, so there is no 3-D; the other views show the same brain.');
    const { Niivue } = await load();
    const frame = document.createElement('div');
    frame.className = 'space';
    frame.tabIndex = 0;
    frame.setAttribute('role', 'application');
    frame.setAttribute('aria-label', 'Slices in three planes and the brain in 3-D; arrows and page keys move the cross');
    const canvas = document.createElement('canvas');
    frame.append(canvas);
    box.querySelector('.room').append(frame);
    const viewer = new Niivue({
      logLevel: 'silent', dragAndDropEnabled: false, backColor: [0, 0, 0, 1], crosshairColor: [1, 0.82, 0.48, 0.8], crosshairWidth: 1,
      sliceType: 3, multiplanarShowRender: 1, show3Dcrosshair: true, isColorbar: true, multiplanarPadPixels: 8, loadingText: '',
    });
    await viewer.attachToCanvas(canvas);
    // The page has its own keys; the canvas must not answer them a second time.
    canvas.removeAttribute('tabindex');
    frame.addEventListener('keydown', move);
    return { viewer, frame, box: null, parts: null };
  }

  function move(event) {
    const step = { ArrowLeft: [-1, 0, 0], ArrowRight: [1, 0, 0], ArrowDown: [0, -1, 0], ArrowUp: [0, 1, 0], PageDown: [0, 0, -1], PageUp: [0, 0, 1] }[event.key];
    if (!step || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    space.then(({ viewer }) => viewer.moveCrosshairInVox(...step));
  }

  async function unpack(box) {
    const { NVImage } = await load();
    const read = (name, rest) => NVImage.loadFromBase64({ base64: box.dataset[name], name: `${name}.nii.gz`, cal_min: 0, cal_max: WHITE, colorbarVisible: false, ...rest });
    const parts = { source: await read('source') };
    if (box.dataset.harmonized) {
      parts.harmonized = await read('harmonized');
      parts.difference = difference(parts);
    }
    // What is within an eighth of the range is left clear, so that the brain can be seen.
    const reach = Number(box.dataset.reach);
    if (box.dataset.uncertainty) parts.uncertainty = await read('uncertainty', { colormap: 'magma', opacity: 0.8, cal_min: reach / 8, cal_max: reach, colorbarVisible: true });
    return parts;
  }

  // Harmonized minus source. What is within a quarter of the range is left clear, so that the brain can be seen.
  function difference({ source, harmonized }) {
    const image = harmonized.clone();
    image.hdr = { ...harmonized.hdr, datatypeCode: 16, numBitsPerVoxel: 32, scl_slope: 1, scl_inter: 0 };
    image.img = Float32Array.from(harmonized.img, (value, i) => ((value - source.img[i]) * WHITE) / 255);
    const sizes = image.img.map(Math.abs).filter((value) => value > 0).sort();
    const high = Math.max(0.05, sizes.length ? sizes[Math.floor(0.99 * (sizes.length - 1))] : 0);
    Object.assign(image, {
      id: 'difference', name: 'difference', colormap: 'redyell', colormapNegative: 'bluegrn', opacity: 0.7, colorbarVisible: true,
      cal_min: high / 4, cal_max: high, cal_minNeg: -high / 4, cal_maxNeg: -high,
    });
    return image;
  }

  function point(box, parts, { mm, vox }) {
    const [x, y, z] = [...mm].map((value) => value.toFixed(0).replace(/^-0$/, '0'));
    const told = ['source', 'harmonized', 'uncertainty'].filter((name) => parts[name]).map((name) => `${name} ${parts[name].getValue(...vox).toFixed(2)}`);
    box.querySelector('.where').textContent = `x ${x}, y ${y}, z ${z} mm: ${told.join(', ')}`;
  }

  async function show(view) {
    const box = view.querySelector('.solid');
    const over = view.dataset.over || '';
    for (const button of box.querySelectorAll('[data-over]')) button.setAttribute('aria-pressed', String(button.dataset.over === over));
    if (view.dataset.mode !== 'solid') return;
    try {
      space ??= start(box);
      const found = await space;
      if (found.box !== box) {
        const parts = await unpack(box);
        if (view.dataset.mode !== 'solid') return;
        // Only one image is open at a time; the one before goes back to its pictures.
        const former = found.box && found.box.closest('.viewer');
        Object.assign(found, { box, parts });
        if (former && former.dataset.mode === 'solid') go(former, 'all');
        box.querySelector('.room').append(found.frame);
        found.viewer.onLocationChange = (where) => point(box, parts, where);
      }
      const { viewer, parts } = found;
      const name = parts.harmonized ? view.dataset.showing : 'source';
      const below = parts[name];
      viewer.volumes = [below, ...(parts[over] ? [parts[over]] : [])];
      viewer.setVolume(below, 0);
      // Two by two where there is height for it, else what fits best; setting it draws, so only after the volumes.
      const layout = view.classList.contains('large') ? 2 : 0;
      if (viewer.opts.multiplanarLayout !== layout) viewer.setMultiplanarLayout(layout);
      if (view.dataset.at) {
        viewer.scene.crosshairPos = viewer.mm2frac(view.dataset.at.split(' ').map(Number));
        delete view.dataset.at;
        viewer.drawScene();
      }
      viewer.createOnLocationChange();
      tell(box, '');
      box.dataset.drawn = name;
      box.dataset.drawnOver = over;
    } catch (error) {
      tell(box, error.message);
    }
  }

  for (const button of document.querySelectorAll('[data-at]')) {
    button.addEventListener('click', () => {
      const view = button.closest('article.image').querySelector('.viewer');
      view.dataset.at = button.dataset.at;
      if (view.dataset.mode === 'solid') show(view); else go(view, 'solid');
      view.scrollIntoView({ behavior: calm ? 'auto' : 'smooth', block: 'start' });
      view.querySelector('[data-go=solid]').focus({ preventScroll: true });
    });
  }
  for (const box of rooms) {
    const view = box.closest('.viewer');
    view.addEventListener('shown', () => show(view));
    box.querySelector('[data-turn]')?.addEventListener('click', () => go(view, 'flicker'));
    for (const button of box.querySelectorAll('[data-over]')) button.addEventListener('click', () => go(view, button.dataset.over));
  }
}
