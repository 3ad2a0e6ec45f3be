/** htmx exchanges parts of pages. It may neither evaluate text as script nor add a style element: the policy forbids both. */

import htmx from "htmx.org";

export function configureHtmx(): void {
  Object.assign(htmx.config, {
    allowEval: false,
    allowScriptTags: false,
    includeIndicatorStyles: false,
    selfRequestsOnly: true,
    historyCacheSize: 0,
    refreshOnHistoryMiss: true,
    timeout: 10_000,
  });
}
