import { isDeepStrictEqual } from 'node:util'
import type { ServeOptions } from './serve-options.ts'

/**
 * What a change takes. `in-place`: what runs is changed, and upstreams keep what is known of them. `rebuild`: a new app takes over,
 * and the old one finishes what it has begun. `restart`: it has no effect until the process starts again.
 */
export type ChangeEffect = 'in-place' | 'rebuild' | 'restart'

/** One difference of two configurations. */
export interface ConfigChange {
  /** As in errors: `pools.web.upstreams[1]`. */
  readonly path: string
  readonly kind: 'added' | 'removed' | 'changed'
  /** Secrets are hidden; functions and the like are named by their kind. */
  readonly before?: unknown
  readonly after?: unknown
  readonly effect: ChangeEffect
}

const SECRET = /(?:^|\.)(?:token|password|secret|key|keys|passphrase|pfx|authorization)(?:\.|\[|$)/i

function effectOf (path: string, kept: readonly string[]): ChangeEffect {
  if (/^pools\.[^.]+(?:\.upstreams)?(?:\[|$)/.test(path) || /^stream\.pools\.[^.]+(?:\.upstreams)?(?:\[|$)/.test(path)) return 'in-place'
  if (/^routes\[\d+\]\.rules\[\d+\]\.pool\./.test(path) || path === 'logLevel' || path === 'clientHeadersTimeout' || /^listen(?:\[|$)/.test(path)) return 'in-place'
  // Whether there is TLS at all is a matter of the servers.
  if (path === 'tls' || kept.some((name) => path === name || path.startsWith(`${name}.`))) return 'restart'
  // The disk and the table are kept, whatever comes and goes.
  if (/^cache\.disk\.|^sticky\.table\.maxEntries$/.test(path)) return 'restart'
  return 'rebuild'
}

function shown (path: string, value: unknown): unknown {
  if (SECRET.test(path)) return '(hidden)'
  if (typeof value === 'function') return '(function)'
  if (Array.isArray(value)) return value.map((item, index) => shown(`${path}[${index}]`, item))
  if (typeof value !== 'object' || value === null) return value
  if (Object.getPrototypeOf(value) !== Object.prototype) return `(${value.constructor?.name ?? 'object'})`
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, shown(`${path}.${name}`, inner)]))
}

const isPlain = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype

/** A pool may be written as a list of upstreams, or with options: only what it is in full can be compared. */
const whole = (pools: object | undefined): object | undefined =>
  pools && Object.fromEntries(Object.entries(pools).map(([name, pool]) => [name, Array.isArray(pool) ? { upstreams: pool as unknown[] } : pool as unknown]))

function normal (options: ServeOptions): object {
  const { pools, stream } = options
  return {
    ...options, ...pools !== undefined && { pools: whole(pools) },
    ...stream !== undefined && { stream: { ...stream, ...stream.pools !== undefined && { pools: whole(stream.pools) } } }
  }
}

/** Everything in which `after` differs from `before`, in the order of the options. `kept`: paths of options that what runs cannot take. */
export function diffConfig (before: ServeOptions, after: ServeOptions, kept: readonly string[] = []): ConfigChange[] {
  const changes: ConfigChange[] = []
  compare('', normal(before), normal(after), changes, kept)
  return changes
}

function compare (path: string, before: unknown, after: unknown, changes: ConfigChange[], kept: readonly string[]): void {
  if (isDeepStrictEqual(before, after)) return
  // Members may move; which of them are new is for the pool to find out.
  if (isPlain(before) && isPlain(after)) {
    for (const name of new Set([...Object.keys(before), ...Object.keys(after)])) compare(path === '' ? name : `${path}.${name}`, before[name], after[name], changes, kept)
    return
  }
  if (Array.isArray(before) && Array.isArray(after) && before.length === after.length) {
    for (const [index, item] of before.entries()) compare(`${path}[${index}]`, item, after[index], changes, kept)
    return
  }
  // A pool that comes or goes is more than its members.
  const effect = before === undefined || after === undefined ? (/^(?:stream\.)?pools\.[^.]+$/.test(path) ? 'rebuild' : effectOf(path, kept)) : effectOf(path, kept)
  changes.push({
    path, kind: before === undefined ? 'added' : after === undefined ? 'removed' : 'changed',
    ...before !== undefined && { before: shown(path, before) }, ...after !== undefined && { after: shown(path, after) }, effect
  })
}
