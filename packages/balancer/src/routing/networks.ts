import { Networks } from '@headgate/core'
import { refuseRoute } from '../refuse.ts'

/** Clients by address or network. Throws `HG_BALANCER_INVALID_OPTION` for `path`. */
export function networksOf (entries: readonly string[], path: string): Networks {
  const networks = new Networks()
  for (const [index, entry] of entries.entries()) {
    if (!networks.add(entry)) refuseRoute(`${path}[${index}]`, "must be an IP address or a network such as '10.0.0.0/8' or 'fd00::/8'", entry)
  }
  return networks
}
