import { hash } from 'node:crypto'

const short = (text: string): string => hash('sha256', text, 'base64url').slice(0, 27)

/** Names in Redis. All that belongs to one URL is in one slot of a cluster, and the log of purges with its readers in another. */
export class Names {
  readonly log: string
  readonly nodes: string
  readonly pattern: string
  readonly #prefix: string

  constructor (prefix: string) {
    this.#prefix = `${prefix}:c1:`
    this.log = `${this.#prefix}{log}`
    this.nodes = `${this.log}:nodes`
    this.pattern = `${this.#prefix}*:k:*`
  }

  node (id: string): string { return `${this.log}:node:${id}` }
  /** A hash: responses of one key, by their ids. */
  key (url: string, key: string): string { return `${this.#prefix}{${short(url)}}:k:${key === url ? '' : short(key)}` }
  /** A set: names of the hashes of a URL whose key is more than it. */
  url (url: string): string { return `${this.#prefix}{${short(url)}}:u` }
  chunk (url: string, blob: string, index: number): string { return `${this.#prefix}{${short(url)}}:b:${blob}:${index}` }
  /** A mark: responses are stored under a No-Vary-Search rule of the path. */
  ruled (path: string): string { return `${this.#prefix}{${short(path)}}:r` }
  claim (url: string, variant: string): string { return `${this.#prefix}{${short(url)}}:l:${short(variant)}` }
}
