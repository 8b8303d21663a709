import type { HashKey } from '@headgate/core'
import { fieldOf } from '../fields.ts'
import { cookieValue } from '../pool-questions.ts'
import type { Outgoing } from './outgoing.ts'

/** What a pool's `hashOn` says of a request that has no client; `undefined`: nothing. */
export function outgoingKey ({ target, fields: { list } }: Outgoing, hashOn: HashKey): string | undefined {
  const [kind, name = ''] = hashOn.split(/:(.*)/, 2)
  const path = target.replace(/\?.*$/s, '')
  switch (kind) {
    case 'path': return path
    case 'url': return target
    case 'header': return fieldOf(list, name.toLowerCase())
    case 'cookie': return cookieValue(fieldOf(list, 'cookie'), name) || undefined
    case 'query': return new URLSearchParams(target.slice(path.length + 1)).get(name) ?? undefined
    default: return undefined
  }
}
