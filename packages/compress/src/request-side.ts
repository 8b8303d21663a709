import type { FastifyReply, FastifyRequest } from 'fastify'
import { knownEtag, originEtags } from './etag.ts'
import { addVary, fieldOf } from './fields.ts'
import type { Negotiator } from './negotiate.ts'
import type { CompressSettings } from './options.ts'

const CONDITIONS = ['if-none-match', 'if-match'] as const

/** Replaces all fields of a name, or adds one. */
function replaceRaw (raw: string[], name: string, value: string): void {
  let found = false
  for (let i = 0; i < raw.length; i += 2) {
    if (raw[i]!.length !== name.length || raw[i]!.toLowerCase() !== name) continue
    if (found) {
      raw.splice(i, 2)
      i -= 2
    } else raw[i + 1] = value
    found = true
  }
  if (!found) raw.push(name, value)
}

/**
 * What the upstream is asked. The fields as received (`rawHeaders`) are what a proxy forwards: there Accept-Encoding becomes
 * ours, while `request.headers` keeps the client's for handlers and for the response's turn.
 */
export class RequestSide {
  readonly #settings: CompressSettings
  readonly #negotiator: Negotiator
  /** If-None-Match as the client sent it, where it was rewritten. */
  readonly #sent = new WeakMap<FastifyRequest, string>()

  constructor (settings: CompressSettings, negotiator: Negotiator) {
    this.#settings = settings
    this.#negotiator = negotiator
  }

  prepare (request: FastifyRequest): void {
    const { raw } = request
    // Node makes `headers` from `rawHeaders` when it is first read: read it before the other changes.
    const { headers } = raw
    const { upstream, etag } = this.#settings
    if (upstream !== 'untouched') {
      const sent = headers['accept-encoding'] as string | undefined
      const wanted = upstream === 'identity' ? 'identity' : this.#negotiator.accept(sent).normalised
      if (wanted !== undefined && wanted !== sent) replaceRaw(raw.rawHeaders, 'accept-encoding', wanted)
    }
    if (etag === 'weak') return
    for (const name of CONDITIONS) {
      const sent = headers[name]
      if (sent === undefined) continue
      const known = originEtags(sent)
      if (known === sent) continue
      if (name === 'if-none-match') this.#sent.set(request, sent)
      // Both: handlers and other plugins compare as well.
      headers[name] = known
      replaceRaw(raw.rawHeaders, name, known)
    }
  }

  /** Would {@link restoreEtag} leave this tag as it is? */
  keepsEtag (request: FastifyRequest, etag: string | undefined): boolean {
    const sent = this.#sent.get(request) ?? request.headers['if-none-match']
    return sent === undefined || etag === undefined || knownEtag(etag, sent) === etag
  }

  /** A 304 names the entity tag by which the client knows what it has. */
  restoreEtag (request: FastifyRequest, reply: FastifyReply): void {
    const sent = this.#sent.get(request) ?? request.headers['if-none-match']
    const etag = fieldOf(reply, 'etag')
    if (sent === undefined || etag === undefined) return
    const known = knownEtag(etag, sent)
    if (known === etag) return
    reply.header('etag', known)
    addVary(reply, 'Accept-Encoding')
  }
}
