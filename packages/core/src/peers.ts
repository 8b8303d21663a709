import { BlockList, isIP, isIPv4 } from 'node:net'
import { refuse as refuseOption } from './options.ts'
import { plainAddress } from './proxy-protocol/index.ts'

/** Peers by address, network (`10.0.0.0/8`), or `unix` for those of a Unix socket. */
export class Peers {
  readonly #list = new BlockList()
  #unix = false

  /** `refuse` throws for an entry that is none of these, which `path[index]` names; `HG_POOL_INVALID_OPTION` unless given. */
  constructor (entries: readonly string[], path: string, refuse: (path: string, allowed: string, value: unknown) => never = refuseOption) {
    for (const [index, entry] of entries.entries()) {
      if (entry === 'unix') {
        this.#unix = true
        continue
      }
      const [address = '', bits, ...rest] = entry.split('/')
      const family = isIP(address)
      const most = family === 4 ? 32 : 128
      if (family === 0 || rest.length > 0 || (bits !== undefined && !(/^\d{1,3}$/.test(bits) && Number(bits) <= most))) {
        refuse(`${path}[${index}]`, "must be an IP address, a network such as '10.0.0.0/8' or 'fd00::/8', or 'unix'", entry)
      }
      this.#list.addSubnet(address, bits === undefined ? most : Number(bits), family === 4 ? 'ipv4' : 'ipv6')
    }
  }

  /** `undefined`: the peer of a Unix socket. */
  has (address: string | undefined): boolean {
    if (address === undefined) return this.#unix
    const plain = plainAddress(address)
    return this.#list.check(plain, isIPv4(plain) ? 'ipv4' : 'ipv6')
  }
}
