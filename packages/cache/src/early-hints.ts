import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Entry } from './entry.ts'
import type { Fields } from './semantics/fields.ts'

/** One link of a Link field (RFC 8288 3): its target, and its parameters. */
const LINK = /<[^>]*>(?:\s*;\s*[\w!#$%&'*+.^`|~-]+(?:\s*=\s*(?:"(?:[^"\\]|\\.)*"|[^\s",;]+))?)*/g
/** Links that Node sends ahead: values in quotes have no spaces in them. The others are left out. */
const SENT = /^<[^>]*>(?:\s*;\s*[^;"\s]+(?:="[^;"\s]*")?)*$/
/** What browsers do ahead of a response (HTML, "process early hints"). */
const AHEAD = /;\s*rel\s*=\s*"?(?:[^";]*\s)?(?:preload|modulepreload|preconnect)(?=["\s;]|$)/i

/** By fields, as those of an entry that is freshened are others. */
const links = new WeakMap<Fields, string[]>()

/** Links of a stored response that are of use before the response itself. */
export function hintsOf (entry: Entry): string[] {
  const { fields } = entry
  let found = links.get(fields)
  if (found === undefined) {
    found = []
    for (let i = 0; i < fields.length; i += 2) {
      if (fields[i]!.toLowerCase() === 'link') for (const [link] of fields[i + 1]!.matchAll(LINK)) if (AHEAD.test(link) && SENT.test(link)) found.push(link)
    }
    links.set(fields, found)
  }
  return found
}

/**
 * Sends 103 (RFC 8297) with the links of the stored response, which has to be fetched anew: most likely its successor has them too.
 * HTTP/1.1 clients get it for navigations of browsers alone, as others are known to take it for the answer (RFC 8297 3).
 */
export function sendHints (request: FastifyRequest, reply: FastifyReply, entry: Entry): void {
  const { raw } = reply
  if (raw.headersSent || raw.destroyed || request.method !== 'GET') return
  if (request.raw.httpVersionMajor < 2 && (request.raw.httpVersion !== '1.1' || request.headers['sec-fetch-mode'] !== 'navigate')) return
  const link = hintsOf(entry)
  if (link.length > 0) raw.writeEarlyHints({ link })
}
