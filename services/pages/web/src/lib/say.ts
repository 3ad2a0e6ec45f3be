/** Sentences of the server in `<template data-say="NAME">`: scripts contain no words that people read. */

/** The template of a sentence inside `root`. */
function template(root: ParentNode, name: string): HTMLTemplateElement | null {
  return root.querySelector<HTMLTemplateElement>(`template[data-say="${name}"]`);
}

/** A copy of a sentence's elements; empty if the page has no such sentence. */
export function sentence(root: ParentNode, name: string): DocumentFragment {
  const found = template(root, name);
  return found ? document.importNode(found.content, true) : document.createDocumentFragment();
}

/** A sentence as text, with `{name}` replaced by its value. */
export function sentenceText(root: ParentNode, name: string, values: Readonly<Record<string, string | number>>): string {
  const text = template(root, name)?.content.textContent?.trim() ?? "";
  return text.replace(/\{(\w+)\}/g, (whole, key: string) => String(values[key] ?? whole));
}

/** Shows and removes sentences in the `.say` element of an island. Several may be shown at once. */
export class Speaker {
  private readonly shown = new Map<string, Element>();

  constructor(private readonly root: HTMLElement) {}

  show(name: string): void {
    const place = this.root.querySelector(".say");
    if (!place || this.shown.has(name)) {
      return;
    }
    const box = document.createElement("div");
    box.dataset["said"] = name;
    box.append(sentence(this.root, name));
    place.append(box);
    this.shown.set(name, box);
  }

  hide(name: string): void {
    this.shown.get(name)?.remove();
    this.shown.delete(name);
  }

  /** Removes every other sentence and shows this one. */
  only(name: string): void {
    for (const other of [...this.shown.keys()].filter((shown) => shown !== name)) {
      this.hide(other);
    }
    this.show(name);
  }

  clear(): void {
    for (const name of [...this.shown.keys()]) {
      this.hide(name);
    }
  }
}
