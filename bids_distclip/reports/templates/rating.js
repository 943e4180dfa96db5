const SCALE = ['unusable', 'doubtful', 'acceptable', 'good'];
const desk = document.querySelector('.desk');
const shelf = `distclip-rating:${desk ? desk.dataset.dataset : ''}:`;
const spare = new Map();
const judged = articles.filter((article) => article.querySelector('.rating'));

// Pages opened in a private window, or from some disks, may not keep anything: then it is kept until the page is closed.
function keep(key, value) {
  spare.set(key, value);
  try { localStorage.setItem(key, value); } catch { desk.querySelector('.lost').hidden = false; }
}

function kept(key) {
  try { return localStorage.getItem(key) ?? spare.get(key) ?? null; } catch { return spare.get(key) ?? null; }
}

function drop(key) {
  spare.delete(key);
  try { localStorage.removeItem(key); } catch { /* it was never kept there */ }
}

function keys() {
  const found = new Set(spare.keys());
  try { for (let i = 0; i < localStorage.length; i += 1) found.add(localStorage.key(i)); } catch { return [...found]; }
  return [...found];
}

function rater() {
  return desk.querySelector('[data-rater]').value.trim();
}

function place(review) {
  return `${shelf}${JSON.stringify(rater())}:${review}`;
}

function read(review) {
  try { return JSON.parse(kept(place(review))) || {}; } catch { return {}; }
}

function write(article, change) {
  const { review, image } = article.dataset;
  keep(place(review), JSON.stringify({ review, image, rating: null, comment: '', ...read(review), ...change, rated: new Date().toISOString() }));
  paint(article);
}

function paint(article) {
  const { rating = null, comment = '' } = read(article.dataset.review);
  for (const each of article.querySelectorAll('[data-rate]')) each.checked = Number(each.value) === rating;
  const box = article.querySelector('[data-comment]');
  if (box.value !== comment) box.value = comment;
  const cell = document.querySelector(`[data-rated="${article.id}"]`);
  cell.textContent = rating ? `${rating} ${SCALE[rating - 1]}` : comment ? 'comment only' : '–';
  // Beside the buttons that stay in view, so that a key is seen to have been heard.
  const mine = article.querySelector('.mine');
  if (mine) mine.textContent = rating ? `${rating} ${SCALE[rating - 1]}` : '';
  const done = judged.filter((one) => read(one.dataset.review).rating).length;
  desk.querySelector('.done').textContent = `${done} of ${judged.length} rated on this page, ${ratings().filter((one) => one.rating).length} in all`;
}

// Said where it is heard by a screen reader, and for a while where the eye is, whatever part of the page is in view.
let hushed;
function say(text) {
  desk.querySelector('.said').textContent = text;
  const heard = document.querySelector('.heard');
  heard.textContent = text;
  heard.hidden = false;
  clearTimeout(hushed);
  hushed = setTimeout(() => { heard.hidden = true; }, 2500);
}

function rate(article, value) {
  if (!desk) return;
  if (!article) return say('No image is in view, so nothing was rated.');
  if (!article.querySelector('[data-rate]')) return say(`${article.dataset.name} was not harmonized, so there is nothing to rate.`);
  const rating = read(article.dataset.review).rating === value ? null : value;
  write(article, { rating });
  say(rating ? `${article.dataset.name}: ${rating}, ${SCALE[rating - 1]}` : `${article.dataset.name}: rating taken back`);
}

function ratings() {
  const mine = `${shelf}${JSON.stringify(rater())}:`;
  const rows = keys().filter((key) => key.startsWith(mine)).map((key) => JSON.parse(kept(key)));
  return rows.filter((row) => row.rating || row.comment).sort((a, b) => (a.image < b.image ? -1 : 1));
}

function hand() {
  const name = desk.querySelector('[data-rater]');
  if (!rater()) {
    desk.querySelector('.said').textContent = 'Give your name or initials first: the file carries them.';
    name.focus();
    return;
  }
  const { dataset } = desk.dataset;
  const file = { format: 'distclip-ratings', version: 1, rater: rater(), dataset, exported: new Date().toISOString(), ratings: ratings() };
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([`${JSON.stringify(file, null, 2)}\n`], { type: 'application/json' }));
  link.download = `ratings_${rater().replace(/[^A-Za-z0-9+-]+/g, '_')}.json`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  desk.querySelector('.said').textContent = `${file.ratings.length} ratings exported to ${link.download}`;
}

// What was rated before a name was given belongs to whoever gives it.
function sign(before) {
  const nobody = `${shelf}${JSON.stringify('')}:`;
  if (!before && rater()) {
    for (const key of keys().filter((one) => one.startsWith(nobody))) {
      const review = key.slice(nobody.length);
      if (kept(place(review)) === null) keep(place(review), kept(key));
      drop(key);
    }
  }
  keep('distclip-rater', rater());
}

if (desk) {
  const name = desk.querySelector('[data-rater]');
  name.value = kept('distclip-rater') || '';
  name.addEventListener('change', () => { sign(kept('distclip-rater') || ''); judged.forEach(paint); });
  desk.querySelector('[data-export]').addEventListener('click', hand);
  for (const article of judged) {
    for (const each of article.querySelectorAll('[data-rate]')) {
      each.addEventListener('change', () => write(article, { rating: Number(each.value) }));
    }
    article.querySelector('[data-comment]').addEventListener('input', (event) => write(article, { comment: event.target.value }));
    paint(article);
  }
}
