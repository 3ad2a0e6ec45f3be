/** Posts a form and takes one part of the answer, whether the server sends a part or a whole page. */

export type Answer =
  | { readonly name: "part"; readonly content: DocumentFragment }
  /** The session or device has ended; the page itself has to say so. */
  | { readonly name: "ended" }
  /** No usable answer in time: nobody may be admitted on it. */
  | { readonly name: "none" };

const ENDED = [401, 403, 410];

/** Posts `fields` like a form would. `id` names the element whose children are wanted. */
export async function postForm(url: string, fields: URLSearchParams, id: string, timeoutMs: number): Promise<Answer> {
  const abort = new AbortController();
  const timer = setTimeout(() => abort.abort(), timeoutMs);
  try {
    const answer = await fetch(url, {
      method: "POST",
      body: fields,
      headers: { Accept: "text/html", "HX-Request": "true", "HX-Target": id },
      cache: "no-store",
      signal: abort.signal,
    });
    if (ENDED.includes(answer.status) || answer.redirected) {
      return { name: "ended" };
    }
    const content = part(await answer.text(), id);
    return content.querySelector("[data-decision]") ? { name: "part", content } : { name: "none" };
  } catch {
    return { name: "none" };
  } finally {
    clearTimeout(timer);
  }
}

/** The fields of a form with the button that was pressed. */
export function formFields(form: HTMLFormElement, submitter?: HTMLElement | null): URLSearchParams {
  const fields = new URLSearchParams();
  new FormData(form).forEach((value, name) => {
    if (typeof value === "string") {
      fields.append(name, value);
    }
  });
  if (submitter instanceof HTMLButtonElement && submitter.name !== "") {
    fields.append(submitter.name, submitter.value);
  }
  return fields;
}

/** Parsed this way no script of the text runs. */
function part(html: string, id: string): DocumentFragment {
  const parsed = new DOMParser().parseFromString(html, "text/html");
  const fragment = document.createDocumentFragment();
  const source = parsed.getElementById(id) ?? parsed.body;
  fragment.append(...[...source.childNodes].map((node) => document.importNode(node, true)));
  return fragment;
}
