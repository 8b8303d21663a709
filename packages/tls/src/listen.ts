import { isIPv6 } from 'node:net'
import { refuse } from '@headgate/core'

/** `host:port`, `[::1]:port` or `:port`. Throws `HG_POOL_INVALID_OPTION` for `path`. */
export function parseListen (text: string, path: string): { host: string; port: number } {
  const [, literal, name = '', digits = ''] = /^(?:\[([^\]]*)\]|([\w.-]*)):(\d{1,5})$/.exec(text) ?? []
  const port = Number(digits)
  if (digits === '' || port > 65_535 || (literal !== undefined && !isIPv6(literal))) {
    refuse(path, "must be 'host:port', '[::1]:port' or ':port' (all interfaces; port 0: any free one)", text)
  }
  return { host: literal ?? (name === '' ? '::' : name), port }
}
