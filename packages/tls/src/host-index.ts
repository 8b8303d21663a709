const HOST = /^(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/

/** A host name as SNI may carry it, in lower case and without a dot at its end; '' for what is none. */
export function hostName (text: string): string {
  const name = (text.endsWith('.') ? text.slice(0, -1) : text).toLowerCase()
  return name.length <= 253 && HOST.test(name) ? name : ''
}

/** Is it a host name, or one with `*` for its first label? */
export function isHostPattern (text: string): boolean {
  const bare = text.startsWith('*.') ? text.slice(2) : text
  return hostName(bare) !== '' && !bare.endsWith('.')
}

/** Finds values by host name: exactly, else by `*.` for the first label (RFC 6125 6.4.3). Two look-ups, however many there are. */
export class HostIndex<T> {
  readonly #values = new Map<string, T>()

  /** False: somebody was there before, and stays. `host` in lower case. */
  add (host: string, value: T): boolean {
    if (this.#values.has(host)) return false
    this.#values.set(host, value)
    return true
  }

  /** As it was added, `*.` included. */
  get (host: string): T | undefined {
    return this.#values.get(host)
  }

  /** `host` in lower case. */
  find (host: string): T | undefined {
    const exact = this.#values.get(host)
    if (exact !== undefined) return exact
    const dot = host.indexOf('.')
    return dot <= 0 ? undefined : this.#values.get(`*${host.slice(dot)}`)
  }
}
