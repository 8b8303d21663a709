import { BlockList, isIP, isIPv4 } from 'node:net'
import { plainAddress } from '@headgate/core'
import { refuseRoute } from '../refuse.ts'

/** Addresses and networks. Throws `HG_BALANCER_INVALID_OPTION` for `path`. */
export class Networks {
  readonly #list = new BlockList()

  constructor (entries: readonly string[], path: string) {
    for (const [index, entry] of entries.entries()) {
      const [address = '', bits, ...rest] = entry.split('/')
      const family = isIP(address)
      const most = family === 4 ? 32 : 128
      if (family === 0 || rest.length > 0 || (bits !== undefined && !(/^\d{1,3}$/.test(bits) && Number(bits) <= most))) {
        refuseRoute(`${path}[${index}]`, "must be an IP address or a network such as '10.0.0.0/8' or 'fd00::/8'", entry)
      }
      this.#list.addSubnet(address, bits === undefined ? most : Number(bits), family === 4 ? 'ipv4' : 'ipv6')
    }
  }

  /** What is no address (the peer of a Unix socket) is in no network. */
  has (address: string): boolean {
    const [plain = ''] = plainAddress(address).split('%', 1)
    return isIP(plain) !== 0 && this.#list.check(plain, isIPv4(plain) ? 'ipv4' : 'ipv6')
  }
}
