/** Attaches islands to their elements: those of the page, and those that htmx brings later. */

const attached = new WeakMap<Element, Set<string>>();

/** Calls `attach` once for every element of `data-island="name"`. */
export function island(name: string, attach: (element: HTMLElement) => void): void {
  each(name, `[data-island="${name}"]`, attach);
}

/** Calls `attach` once for every element that matches; `name` tells islands on the same element apart. */
export function each(name: string, selector: string, attach: (element: HTMLElement) => void): void {
  const run = (): void => {
    for (const element of document.querySelectorAll<HTMLElement>(selector)) {
      const names = attached.get(element) ?? new Set();
      if (!names.has(name)) {
        attached.set(element, names.add(name));
        attach(element);
      }
    }
  };
  document.addEventListener("htmx:load", run);
  if (document.readyState === "loading") {
    document.addEventListener("DOMContentLoaded", run);
  } else {
    run();
  }
}
