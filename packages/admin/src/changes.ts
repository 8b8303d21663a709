import { type Pool, type UpstreamSpec, parseUpstream } from '@headgate/core'
import { BadChangeError, NotFoundError } from './errors.ts'
import type { Change, Difference, OperatorState, Plan } from './model.ts'
import { type Routing, RoutingDraft, applyRouting, isRouting } from './routing.ts'
import { etagOfAll, isLeaving, operatorOf } from './state.ts'

/** A member as a plan sees it: what it would be after the changes so far. */
interface Draft {
  readonly id: string
  readonly url: string
  weight: number
  operator: OperatorState
  member: boolean
  /** Evidence allows it work, if operators do not forbid it. */
  readonly fit: boolean
}

export type FindPool = (name: string) => Pool | undefined
/** A change of a pool. */
export type PoolChange = Exclude<Change, { op: 'split' | 'maintenance' }>

function draftOf (pool: Pool): Map<string, Draft> {
  return new Map(pool.upstreams.map((upstream) => [upstream.id, {
    id: upstream.id, url: upstream.url, weight: upstream.configuredWeight, operator: operatorOf(upstream), member: !isLeaving(upstream),
    fit: upstream.health.state !== 'down' && upstream.health.state !== 'ejected'
  }]))
}

/** Works out what changes would do, without doing it. Throws for what cannot be done; then nothing of it may be. */
export function plan (changes: readonly Change[], find: FindPool, routing: Routing | undefined): Plan {
  const drafts = new Map<Pool, Map<string, Draft>>()
  const before = new Map<Pool, Map<string, Draft>>()
  const routed = new RoutingDraft(routing)
  for (const [index, change] of changes.entries()) {
    if (isRouting(change)) {
      routed.take(change, `changes[${index}]`)
      continue
    }
    const pool = poolOf(change, find)
    let members = drafts.get(pool)
    if (members === undefined) {
      drafts.set(pool, members = draftOf(pool))
      before.set(pool, draftOf(pool))
    }
    draftChange(pool, members, change, `changes[${index}]`)
  }
  const diff = [...drafts].flatMap(([pool, after]) => differences(pool.name, before.get(pool)!, after))
  return {
    etag: etagOfAll([...drafts.keys()], routed.touched ? routed.etag : undefined),
    diff: [...diff, ...routed.diff],
    warnings: [
      ...[...drafts].flatMap(([pool, after]) => warnings(pool, before.get(pool)!, after)),
      ...routed.warnings((name) => find(name)?.ready.length ?? 0)
    ]
  }
}

/** Makes changes that {@link plan} has accepted. Removals go on until the upstreams are empty; `late` hears how they end. */
export function apply (
  changes: readonly Change[], find: FindPool, routing: Routing | undefined, by: string, late: (change: Change, error: Error | undefined) => void
): void {
  for (const change of changes) {
    if (isRouting(change)) {
      applyRouting(change, routing!)
      continue
    }
    const pool = poolOf(change, find)
    switch (change.op) {
      case 'add':
        pool.add(change.upstream as UpstreamSpec)
        break
      case 'remove':
        pool.remove(change.id).then(() => { late(change, undefined) }, (error: Error) => { late(change, error) })
        break
      case 'weight':
        pool.setWeight(change.id, change.weight)
        break
      case 'state':
        pool.get(change.id)!.health.force(change.state === 'auto' ? undefined : change.state, reasonOf(change, by))
    }
  }
}

export function reasonOf (change: Change & { op: 'state' }, by: string): string {
  const who = by === '' ? 'by an operator' : `by ${by}`
  const what = { auto: 'left to evidence', up: 'forced up', drain: 'drained', maintenance: 'put into maintenance' }[change.state]
  return `${what} ${who}${change.reason === undefined || change.reason === '' ? '' : `: ${change.reason}`}`
}

function poolOf (change: PoolChange, find: FindPool): Pool {
  const pool = find(change.pool)
  if (pool === undefined) throw new NotFoundError(`there is no pool '${change.pool}'`)
  return pool
}

function draftChange (pool: Pool, members: Map<string, Draft>, change: PoolChange, path: string): void {
  if (change.op === 'add') {
    const added = parsed(pool, change.upstream, path)
    const twin = [...members.values()].find(({ id, url }) => id === added.id || url === added.target.href)
    if (twin !== undefined) throw new BadChangeError(`${path}: '${added.target.href}' is already in pool '${pool.name}' (as ${twin.id})`)
    members.set(added.id, { id: added.id, url: added.target.href, weight: added.weight, operator: 'auto', member: true, fit: true })
    return
  }
  const draft = members.get(change.id)
  if (draft === undefined) throw new NotFoundError(`there is no upstream '${change.id}' in pool '${pool.name}'`)
  if (!draft.member) throw new BadChangeError(`${path}: upstream '${change.id}' is being removed`)
  if (change.op === 'remove') draft.member = false
  else if (change.op === 'weight') draft.weight = change.weight
  else draft.operator = change.state
}

function parsed (pool: Pool, spec: UpstreamSpec, path: string): ReturnType<typeof parseUpstream>['settings'] {
  try {
    return parseUpstream(spec, `${path}.upstream`, pool.settings).settings
  } catch (error) {
    // A wrong option is the app's mistake at registration (500), and the client's here.
    throw new BadChangeError((error as Error).message)
  }
}

function differences (pool: string, before: Map<string, Draft>, after: Map<string, Draft>): Difference[] {
  const list: Difference[] = []
  for (const draft of after.values()) {
    const was = before.get(draft.id)
    const add = (field: Difference['field'], from: Difference['before'], to: Difference['after']): void => {
      if (from !== to) list.push({ pool, upstream: draft.id, url: draft.url, split: '', route: '', field, before: from, after: to })
    }
    add('member', was?.member ?? false, draft.member)
    if (was === undefined || !draft.member) continue
    add('weight', was.weight, draft.weight)
    add('operator', was.operator, draft.operator)
  }
  return list
}

const usable = ({ member, weight, operator, fit }: Draft): boolean =>
  member && weight > 0 && (operator === 'up' || (operator === 'auto' && fit))

function warnings (pool: Pool, before: Map<string, Draft>, after: Map<string, Draft>): string[] {
  const count = (members: Map<string, Draft>): number => [...members.values()].filter(usable).length
  const [was, will] = [count(before), count(after)]
  if (will === 0 && was > 0) return [`nobody would be left in pool '${pool.name}' to take requests: they would be answered 503`]
  if (will < was / 2) return [`pool '${pool.name}' would go from ${was} usable upstreams to ${will}`]
  return []
}
