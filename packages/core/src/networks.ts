import { BlockList, isIP, isIPv4 } from 'node:net'
import { plainAddress } from './proxy-protocol/index.ts'

/** Addresses and networks (`10.0.0.0/8`). */
export class Networks {
  readonly #list = new BlockList()

  /** `false` for a text that is neither an address nor a network. */
  add (entry: string): boolean {
    const [address = '', bits, ...rest] = entry.split('/')
    const family = isIP(address)
    const most = family === 4 ? 32 : 128
    if (family === 0 || rest.length > 0 || (bits !== undefined && !(/^\d{1,3}$/.test(bits) && Number(bits) <= most))) return false
    this.#list.addSubnet(address, bits === undefined ? most : Number(bits), family === 4 ? 'ipv4' : 'ipv6')
    return true
  }

  /** A link-local address may carry its zone. What is no address is in no network. */
  has (address: string): boolean {
    const [plain = ''] = plainAddress(address).split('%', 1)
    return isIP(plain) !== 0 && this.#list.check(plain, isIPv4(plain) ? 'ipv4' : 'ipv6')
  }
}
