'use strict';
document.documentElement.classList.add('scripted');
const articles = [...document.querySelectorAll('article.image')];
const calm = matchMedia('(prefers-reduced-motion: reduce)').matches;
let current = 0;

function pane(viewer, name) {
  return viewer.querySelector(`.pane[data-pane="${name}"]`);
}

function label(viewer, name) {
  const found = pane(viewer, name);
  return found ? found.querySelector('figcaption').textContent : '';
}

function showing(viewer) {
  const mode = viewer.dataset.mode;
  const on = mode === 'flicker' || mode === 'wipe' ? ['source', 'harmonized'] : [mode];
  for (const each of viewer.querySelectorAll('.pane')) {
    each.classList.toggle('on', on.includes(each.dataset.pane));
    each.classList.toggle('under', mode === 'flicker' && on.includes(each.dataset.pane) && each.dataset.pane !== viewer.dataset.showing);
  }
  for (const button of viewer.querySelectorAll('[data-go]')) {
    button.setAttribute('aria-pressed', String(button.dataset.go === mode));
  }
  const below = viewer.dataset.showing === 'source' || (mode === 'solid' && !turns(viewer)) ? 'source' : 'harmonized';
  const name = label(viewer, below);
  const words = { all: '', flicker: name, solid: name, wipe: `left: ${label(viewer, 'source')}, right: ${label(viewer, 'harmonized')}`.toLowerCase() };
  viewer.querySelector('.state').textContent = mode in words ? words[mode] : '';
  viewer.dispatchEvent(new Event('shown'));
}

// Of an image whose result was not written the volume of the source is alone.
function turns(viewer) {
  return Boolean(viewer.querySelector('[data-turn]'));
}

function go(viewer, mode) {
  const solid = viewer && viewer.dataset.mode === 'solid';
  if (!viewer || (solid && mode === 'flicker' && !turns(viewer))) return;
  if (!(viewer.querySelector(`[data-go="${mode}"]`) || (solid && mode === 'flicker'))) return;
  if (solid && viewer.querySelector(`[data-over="${mode}"]`)) {
    viewer.dataset.over = viewer.dataset.over === mode ? '' : mode;
  } else if (mode === 'flicker' && (solid || viewer.dataset.mode === 'flicker')) {
    viewer.dataset.showing = viewer.dataset.showing === 'source' ? 'harmonized' : 'source';
  } else {
    viewer.dataset.mode = viewer.dataset.mode === mode && mode !== 'flicker' ? 'all' : mode;
  }
  showing(viewer);
}

function large(viewer) {
  if (!viewer) return;
  const now = viewer.classList.toggle('large');
  viewer.querySelector('[data-zoom]').setAttribute('aria-pressed', String(now));
  showing(viewer);
}

function nearest() {
  const middle = innerHeight / 3;
  let best = 0;
  articles.forEach((article, index) => { if (article.getBoundingClientRect().top <= middle) best = index; });
  return best;
}

// How much of the window's height an element fills.
function seen(element) {
  const box = element.getBoundingClientRect();
  return Math.max(0, Math.min(box.bottom, innerHeight) - Math.max(box.top, 0));
}

function widest(pairs) {
  return pairs.reduce((best, pair) => (pair[1] > best[1] ? pair : best), [null, 0]);
}

// The image that a key is meant for: the one whose rating has the focus; the one whose pictures fill most of the window;
// without pictures in sight the one that is being read, or none.
function meant(target) {
  const held = target.closest && target.closest('.rating');
  if (held) return held.closest('article.image');
  const views = articles.map((article) => [article, article.querySelector('.viewer')]).filter((pair) => pair[1]);
  const looked = widest(views.map(([article, viewer]) => [article, seen(viewer)]));
  if (looked[0] && looked[1] >= Math.min(innerHeight, looked[0].querySelector('.viewer').offsetHeight) / 6) return looked[0];
  const focused = target.closest && target.closest('article.image');
  if (focused && seen(focused) > 0) return focused;
  const [read, part] = widest(articles.map((article) => [article, seen(article)]));
  return part > innerHeight / 2 ? read : null;
}

// Modes that another image can be opened in as well; a volume takes its time.
let mode = 'all';
function lasting(article) {
  const viewer = article && article.querySelector('.viewer');
  if (viewer) mode = viewer.dataset.mode === 'solid' ? 'all' : viewer.dataset.mode;
  return mode;
}

function openViewer(article, wanted) {
  const viewer = article.querySelector('.viewer');
  if (viewer && viewer.querySelector(`[data-go="${wanted}"]`)) {
    viewer.dataset.mode = wanted;
    viewer.dataset.showing = 'harmonized';
    showing(viewer);
  }
  // One picture fills the window better without the words above it.
  return viewer && viewer.dataset.mode !== 'all' ? viewer : article;
}

function turn(step) {
  const focused = articles.indexOf(document.activeElement);
  const from = focused >= 0 ? focused : started() ? nearest() : -1;
  current = Math.min(articles.length - 1, Math.max(0, from < 0 ? 0 : from + step));
  const place = openViewer(articles[current], lasting(articles[from]));
  articles[current].focus({ preventScroll: true });
  place.scrollIntoView({ behavior: calm ? 'auto' : 'smooth', block: 'start' });
}

function started() {
  return articles.length > 0 && articles[0].getBoundingClientRect().top <= innerHeight / 3;
}

for (const viewer of document.querySelectorAll('.viewer')) {
  for (const button of viewer.querySelectorAll('[data-go]')) {
    button.addEventListener('click', () => go(viewer, button.dataset.go));
  }
  viewer.querySelector('[data-zoom]').addEventListener('click', () => large(viewer));
  viewer.querySelector('[data-wipe]').addEventListener('input', (event) => {
    viewer.querySelector('.stage').style.setProperty('--wipe', `${event.target.value}%`);
  });
  const stage = viewer.querySelector('.stage');
  stage.addEventListener('pointermove', (event) => {
    const top = pane(viewer, 'source');
    if (viewer.dataset.mode !== 'wipe' || !top) return;
    const box = top.getBoundingClientRect();
    const part = Math.min(100, Math.max(0, (100 * (event.clientX - box.left)) / box.width));
    if (event.clientX > box.right) return;
    stage.style.setProperty('--wipe', `${part}%`);
    viewer.querySelector('[data-wipe]').value = part;
  });
  stage.addEventListener('click', () => { if (viewer.dataset.mode === 'flicker') go(viewer, 'flicker'); });
  showing(viewer);
}

// Slower than three flashes a second (WCAG 2.3.1).
setInterval(() => {
  for (const viewer of document.querySelectorAll('.viewer:is([data-mode="flicker"], [data-mode="solid"])')) {
    if (viewer.querySelector('[data-auto]').checked) go(viewer, 'flicker');
  }
}, 700);

function writing(element) {
  return element.matches && element.matches('textarea, select, input:not([type=radio]):not([type=range]):not([type=checkbox])');
}

// Who is looking at an image wants to see one of the next person, not the top of a page.
function follow(name) {
  const link = document.querySelector(`a[rel="${name}"]`);
  const looking = document.activeElement.closest('article.image') || started();
  const article = articles[nearest()];
  try { sessionStorage.setItem('distclip-mode', looking && article ? lasting(article) : ''); } catch { /* then not */ }
  if (link) location.href = link.href + (looking ? '#image-1' : '');
}

// Whoever comes from another person's page goes on looking as there.
try {
  mode = sessionStorage.getItem('distclip-mode') || 'all';
  sessionStorage.removeItem('distclip-mode');
  if (mode !== 'all' && location.hash === '#image-1' && articles.length) {
    const place = openViewer(articles[0], mode);
    // After the browser has gone to the place in the address.
    addEventListener('load', () => requestAnimationFrame(() => place.scrollIntoView({ behavior: 'auto' })));
  }
} catch { /* nothing was kept */ }

addEventListener('keydown', (event) => {
  const key = event.key.toLowerCase();
  if (writing(event.target)) {
    const name = event.target.matches('[data-rater]');
    if (key === 'escape' || (key === 'enter' && name)) {
      event.target.blur();
      if (!name) event.target.closest('article.image').focus({ preventScroll: true });
    }
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const article = meant(event.target);
  const viewer = article ? article.querySelector('.viewer') : null;
  if (/^[1-4]$/.test(key)) {
    rate(article, Number(key));
  } else if (key === 'c' && article && article.querySelector('[data-comment]')) {
    event.preventDefault();
    article.querySelector('[data-comment]').focus();
  } else if (key === 'n') follow('next');
  else if (key === 'p') follow('prev');
  else if (key === 'j') turn(1);
  else if (key === 'k') turn(-1);
  else if (key === 'f') go(viewer, 'flicker');
  else if (key === 'w') go(viewer, 'wipe');
  else if (key === 's') go(viewer, 'all');
  else if (key === 'z') large(viewer);
  else {
    const button = viewer && /^[a-z]$/.test(key) ? viewer.querySelector(`[data-key="${key}"]`) : null;
    if (button) go(viewer, button.dataset.go);
  }
});

// Where a browser prints what is folded only if it is open (before ::details-content).
let folded = [];
addEventListener('beforeprint', () => {
  folded = [...document.querySelectorAll('details:not([open])')];
  for (const each of folded) each.open = true;
  for (const viewer of document.querySelectorAll('.viewer')) { viewer.dataset.mode = 'all'; showing(viewer); }
});
addEventListener('afterprint', () => { for (const each of folded) each.open = false; });
