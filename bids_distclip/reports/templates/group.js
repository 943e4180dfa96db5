'use strict';
document.documentElement.classList.add('scripted');
for (const table of document.querySelectorAll('table.sortable')) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.querySelector('button').addEventListener('click', () => {
    const down = head.getAttribute('aria-sort') === 'ascending';
    heads.forEach((each) => each.setAttribute('aria-sort', 'none'));
    head.setAttribute('aria-sort', down ? 'descending' : 'ascending');
    const rows = [...body.rows].map((row) => ({ row, text: row.cells[column].textContent.trim() }));
    rows.sort((a, b) => {
      const [x, y] = [a.text, b.text].map((text) => (text === 'n/a' ? NaN : Number(text)));
      if (a.text === 'n/a' || b.text === 'n/a') return (a.text === 'n/a') - (b.text === 'n/a');
      const order = Number.isNaN(x) || Number.isNaN(y) ? a.text.localeCompare(b.text) : x - y;
      return down ? -order : order;
    });
    body.append(...rows.map((each) => each.row));
  }));
}
// On paper nothing is folded.
let folded = [];
addEventListener('beforeprint', () => {
  folded = [...document.querySelectorAll('details:not([open])')];
  for (const each of folded) each.open = true;
});
addEventListener('afterprint', () => { for (const each of folded) each.open = false; });
