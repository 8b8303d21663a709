import { LRUCache } from 'lru-cache'

/** What a client takes, read from one value of Accept-Encoding. */
export interface Accepted {
  /** Codings on offer that the client takes, best first: by weight, among equals by the server's order. */
  readonly encodings: readonly string[]
  /** May the body be sent as it is? */
  readonly identity: boolean
  /** The client wants it as it is rather than coded. */
  readonly prefersIdentity: boolean
  /** The field for an upstream, with nothing in it that we could not decode; `undefined`: no field. */
  readonly normalised: string | undefined
  /** Weight of a coding, 0–1; 0: not acceptable. */
  weight (encoding: string): number
}

// RFC 9110 12.4.2 and 12.5.3.
const MEMBER = /^([!#$%&'*+\-.^_`|~\w]+)(?:[ \t]*;[ \t]*[qQ]=(0(?:\.\d{0,3})?|1(?:\.0{0,3})?))?$/

/** Longer values are read each time: they are no browser's, and would fill the memory of known ones. */
const MEMOISED_LENGTH = 256
/** Bound on work; no client has this many codings. */
const LONGEST = 4096

function read (value: string): { weights: Map<string, number>; sound: boolean } {
  const weights = new Map<string, number>()
  let sound = value.length <= LONGEST
  for (const part of sound ? value.split(',') : []) {
    const text = part.trim()
    if (text === '') continue
    const match = MEMBER.exec(text)
    if (match === null) {
      sound = false
      continue
    }
    const lower = match[1]!.toLowerCase()
    // RFC 9110 8.4.1.1 and 8.4.1.3: old names of the same codings.
    const name = lower === 'x-gzip' ? 'gzip' : lower === 'x-compress' ? 'compress' : lower
    const weight = match[2] === undefined ? 1 : Number(match[2])
    // Named twice: the lower weight, since a refusal must not be lost.
    weights.set(name, Math.min(weight, weights.get(name) ?? 1))
  }
  return { weights, sound }
}

/** Content negotiation by RFC 9110 12.5.3. A malformed member is passed over, and then identity is never refused. */
export class Negotiator {
  readonly #offered: readonly string[]
  readonly #decodable: readonly string[]
  readonly #known = new LRUCache<string, Accepted>({ max: 512 })
  readonly #none: Accepted = { encodings: [], identity: true, prefersIdentity: true, normalised: undefined, weight: () => 0 }

  /** `offered`: what we make, best first. `decodable`: what an upstream may send. */
  constructor (offered: readonly string[], decodable: readonly string[]) {
    this.#offered = offered
    this.#decodable = decodable
  }

  /**
   * `undefined` means no field: anything is acceptable by the RFC, but clients that decode say so, and to others we send the
   * body as it is.
   */
  accept (value: string | undefined): Accepted {
    if (value === undefined) return this.#none
    if (value.length > MEMOISED_LENGTH) return this.#parse(value)
    let accepted = this.#known.get(value)
    if (accepted === undefined) this.#known.set(value, accepted = this.#parse(value))
    return accepted
  }

  #parse (value: string): Accepted {
    const { weights, sound } = read(value)
    const rest = weights.get('*') ?? 0
    const weight = (encoding: string): number => weights.get(encoding) ?? rest
    const encodings = this.#offered.filter((name) => weight(name) > 0).sort((a, b) => weight(b) - weight(a))
    const named = weights.get('identity') ?? weights.get('*')
    const identity = named !== 0 || !sound
    // Unnamed, identity is acceptable and comes last.
    const prefersIdentity = encodings.length === 0 ? identity : named !== undefined && named > weight(encodings[0]!)
    const upstream = this.#decodable.filter((name) => weight(name) > 0).map((name) => weight(name) === 1 ? name : `${name};q=${weight(name)}`)
    if (upstream.length > 0) {
      if (!identity) upstream.push('identity;q=0')
      else if (prefersIdentity && named !== undefined) upstream.push('identity')
    }
    return { encodings, identity, prefersIdentity, normalised: upstream.length === 0 ? 'identity' : upstream.join(', '), weight }
  }
}
