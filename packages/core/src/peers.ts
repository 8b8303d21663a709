import { Networks } from './networks.ts'
import { refuse as refuseOption } from './options.ts'

/** Peers by address, network (`10.0.0.0/8`), or `unix` for those of a Unix socket. */
export class Peers {
  readonly #networks = new Networks()
  #unix = false

  /** `refuse` throws for an entry that is none of these, which `path[index]` names; `HG_POOL_INVALID_OPTION` unless given. */
  constructor (entries: readonly string[], path: string, refuse: (path: string, allowed: string, value: unknown) => never = refuseOption) {
    for (const [index, entry] of entries.entries()) {
      if (entry === 'unix') this.#unix = true
      else if (!this.#networks.add(entry)) refuse(`${path}[${index}]`, "must be an IP address, a network such as '10.0.0.0/8' or 'fd00::/8', or 'unix'", entry)
    }
  }

  /** `undefined`: the peer of a Unix socket. */
  has (address: string | undefined): boolean {
    return address === undefined ? this.#unix : this.#networks.has(address)
  }
}
