"use strict";
const rows = [...document.querySelectorAll(".summary tbody tr")];
const body = document.querySelector(".summary tbody");
const search = document.querySelector("input[type=search]");
const buttons = [...document.querySelectorAll(".bar button")];
let wanted = "";

function show() {
  const words = search.value.trim().toLowerCase();
  for (const row of rows) {
    const fits = (!wanted || row.dataset.word === wanted) && row.textContent.toLowerCase().includes(words);
    row.hidden = !fits;
    document.getElementById(row.dataset.card).hidden = !fits;
  }
}

for (const button of buttons) {
  button.addEventListener("click", () => {
    wanted = button.dataset.word;
    buttons.forEach(each => each.setAttribute("aria-pressed", String(each === button)));
    show();
  });
}
search.addEventListener("input", show);

document.querySelectorAll(".summary th button").forEach(button => {
  button.addEventListener("click", () => {
    const head = button.closest("th");
    const place = [...head.parentNode.children].indexOf(head);
    const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    head.parentNode.querySelectorAll("th").forEach(each => each.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", sign === 1 ? "ascending" : "descending");
    const key = row => row.children[place].dataset.key;
    const order = (a, b) => {
      const [x, y] = [Number(key(a)), Number(key(b))];
      return Number.isNaN(x) || Number.isNaN(y) ? key(a).localeCompare(key(b), "en", { numeric: true }) : x - y;
    };
    rows.sort((a, b) => sign * order(a, b)).forEach(row => body.append(row));
  });
});

const dialog = document.querySelector("dialog");
document.querySelectorAll("figure img").forEach(img => {
  img.addEventListener("click", () => {
    dialog.querySelector("img").src = img.src;
    dialog.querySelector("img").alt = img.alt;
    dialog.showModal();
  });
});
dialog.addEventListener("click", () => dialog.close());
