import type { PageContext } from './options.ts'

type Escape = (text: string) => string

const ENTITIES: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' }
const forMarkup: Escape = (text) => text.replace(/[&<>"']/g, (character) => ENTITIES[character]!)
/** Between the quotes of a string. */
const forJson: Escape = (text) => JSON.stringify(text).slice(1, -1)
const asItIs: Escape = (text) => text

function escapeFor (mediaType: string): Escape {
  if (/(?:^text\/html$|[/+]xml$)/.test(mediaType)) return forMarkup
  return /[/+]json$/.test(mediaType) ? forJson : asItIs
}

const VALUES: Readonly<Record<string, (context: PageContext) => string>> = {
  status: ({ status }) => String(status), title: ({ title }) => title, detail: ({ detail }) => detail, code: ({ code }) => code,
  'request.id': ({ requestId }) => requestId
}

/** Compiles a page's text. Only the names of its own are filled in: style sheets and scripts are full of braces. */
export function fillPage (text: string, mediaType: string): (context: PageContext) => string {
  const parts = text.split(/\{(status|title|detail|code|request\.id)\}/)
  if (parts.length === 1) return () => text
  const escape = escapeFor(mediaType)
  return (context) => parts.map((part, index) => index % 2 === 0 ? part : escape(VALUES[part]!(context))).join('')
}
