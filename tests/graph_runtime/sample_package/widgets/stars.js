/** Stars to click: as many as the value says are full. */
export function mount(element, { id, value, onChange }) {
  const buttons = [1, 2, 3, 4, 5].map((count) => {
    const button = document.createElement("button");
    button.type = "button";
    button.id = count === 1 ? id : `${id}-${count}`;
    button.setAttribute("aria-label", `${count} stars`);
    button.addEventListener("click", () => onChange(count));
    return button;
  });
  element.append(...buttons);
  const update = (next) => {
    buttons.forEach((button, index) => {
      button.textContent = index < next ? "\u2605" : "\u2606";
    });
  };
  update(value);
  return { update, unmount: () => element.replaceChildren() };
}
