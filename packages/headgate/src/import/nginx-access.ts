import type { DraftRule } from './draft.ts'
import type { Directive } from './nginx-parse.ts'

/** What `allow` and `deny` directives say, in their order. */
export interface Access {
  readonly allow: boolean
  /** `undefined`: everybody. */
  readonly clients: readonly string[] | undefined
}

/** `allow` and `deny` of a block; `undefined` where there are none, so that those of the block around it hold. */
export function accessOf (block: readonly Directive[]): Access[] | undefined {
  const list: { allow: boolean; clients: string[] | undefined }[] = []
  for (const { name, args: [who = ''] } of block) {
    if (name !== 'allow' && name !== 'deny') continue
    const allow = name === 'allow'
    const before = list.at(-1)
    if (who === 'all') list.push({ allow, clients: undefined })
    else if (before?.allow === allow && before.clients !== undefined) before.clients.push(who)
    else list.push({ allow, clients: [who] })
  }
  return list.length === 0 ? undefined : list
}

/** A rule for each of them: as in nginx the first that fits decides, and who fits none may come. */
export function guarded (rule: DraftRule, access: readonly Access[]): DraftRule[] {
  const rules: DraftRule[] = []
  const { match: whole = {}, ...target } = rule
  const withMatch = (match: object, rest: object): DraftRule => ({ ...Object.keys(match).length > 0 && { match: { ...match } }, ...rest })
  for (const { allow, clients } of access) {
    const match = clients === undefined ? whole : { ...whole, client: clients.length === 1 ? clients[0] : clients }
    rules.push(withMatch(match, allow ? target : { respond: { status: 403 } }))
    if (clients === undefined) return rules
  }
  return [...rules, rule]
}
