import { randomBytes } from 'node:crypto'
import type { FastifyBaseLogger, FastifyRequest } from 'fastify'
import { type Clock, type Pool, systemClock } from '@headgate/core'
import { configOf } from './config-of.ts'
import type { KindContext } from './contract.ts'
import { MissingKeyError } from './errors.ts'
import { HiddenCookies } from './hidden-cookies.ts'
import { Keyring } from './keyring.ts'
import type { CookieOptions } from './kinds/cookie.ts'
import { headerOf } from './kinds/header.ts'
import { type AffinityOptions, kinds, remembersNothing } from './kinds/index.ts'
import { queryOf } from './kinds/query.ts'
import { networkOf } from './kinds/source-ip.ts'
import { MemoryStore } from './memory-store.ts'
import { checkAffinity, type StickyOptions } from './options.ts'
import { StickyReport } from './report.ts'
import { Rule } from './rule.ts'
import type { StickStore } from './store.ts'
import { Table } from './table.ts'

/** Entries that a store looks at per second for some that are over. */
const SWEEP = 10_000

/** All rules of one registration: finds the one that is in force, and makes it when it is first needed in a pool. */
export class StickyRules {
  readonly hidden: HiddenCookies = new HiddenCookies()
  readonly #options: StickyOptions
  readonly #log: FastifyBaseLogger
  readonly #clock: Clock
  readonly #serialize: KindContext['serialize']
  readonly #prefixes: ReadonlySet<string>
  readonly #made = new Map<AffinityOptions, Map<Pool, Rule>>()
  readonly #paths = new Map<string, string>()
  #keyring: Keyring | undefined
  #store: StickStore | undefined
  #timer: unknown

  /** `prefixes` are those of the balancer's routes. */
  constructor (options: StickyOptions, prefixes: Iterable<string>, log: FastifyBaseLogger, serialize: KindContext['serialize']) {
    this.#options = options
    this.#log = log
    this.#clock = options.clock ?? systemClock
    this.#serialize = serialize
    this.#prefixes = new Set(prefixes)
    if (options.keys !== undefined) this.#keyring = new Keyring(options.keys)
  }

  /** Checks a route's own options; throws with their path, and `HG_STICKY_NO_KEY` where a secret is missing. */
  admit (options: AffinityOptions, path: string): void {
    if (this.#made.has(options)) return
    checkAffinity(options, path)
    this.arm(options)
    this.#made.set(options, new Map())
  }

  /** Makes sure that there is a secret, if the options ask for one. */
  arm (options: AffinityOptions): void {
    if (this.#keyring !== undefined || !kinds[options.by ?? 'cookie'].signs(options)) return
    if (process.env['NODE_ENV'] === 'production') throw new MissingKeyError('options.keys')
    this.#log.warn('sticky-session: no keys are given, so a random one signs cookies: clients are forgotten when this process ends, and other processes do not know them')
    this.#keyring = new Keyring([randomBytes(32)])
  }

  find (request: FastifyRequest, pool: Pool): Rule | undefined {
    const own = configOf(request)?.sticky
    const options = own ?? this.#options.pools?.[pool.name] ?? this.#options
    if (options === false) return undefined
    if (own !== undefined) this.admit(options, 'config.sticky')
    return this.in(pool, options)
  }

  /** The rule for a pool, made at the first call. */
  in (pool: Pool, options: AffinityOptions): Rule {
    let pools = this.#made.get(options)
    if (pools === undefined) this.#made.set(options, pools = new Map())
    let rule = pools.get(pool)
    if (rule === undefined) pools.set(pool, rule = this.#make(pool, options))
    return rule
  }

  close (): void {
    if (this.#timer !== undefined) this.#clock.clearTimeout(this.#timer)
  }

  #make (pool: Pool, options: AffinityOptions): Rule {
    const { by = 'cookie' } = options
    const report = new StickyReport(pool, by, this.#log, this.#clock)
    const { idleTimeout, lifetime } = options
    const timeout = this.#options.table?.timeout ?? 250
    const binding = kinds[by].create(options as never, {
      pool,
      clock: this.#clock,
      report,
      keyring: this.#keyring,
      hidden: this.hidden,
      paths: this.#prefixes,
      serialize: this.#serialize,
      pathOf: (request) => this.#pathOf(configOf(request)?.url ?? '/'),
      table: (namespace) => new Table(this.#table(), `${pool.name}\0${namespace}`, { idleTimeout, lifetime, timeout }, this.#clock, report)
    })
    // What a hash lends comes back by itself.
    const settings = remembersNothing(options) && options.failover !== 'strict' ? { ...options, failover: 'borrow' as const, borrowTime: Infinity } : options
    return new Rule(pool, settings, binding, together(options), report, this.#clock)
  }

  #table (): StickStore {
    if (this.#store === undefined) {
      const { store, maxEntries = 100_000 } = this.#options.table ?? {}
      this.#store = store ?? new MemoryStore(maxEntries, this.#clock)
      this.#sweep(this.#store)
    }
    return this.#store
  }

  #sweep (store: StickStore): void {
    this.#timer = this.#clock.setTimeout(() => {
      Promise.resolve(store.expire(SWEEP)).catch((error: unknown) => { this.#log.warn({ err: error }, 'the stick table could not be tidied up') })
      this.#sweep(store)
    }, 1000)
  }

  /**
   * Which paths of the site a route's cookie is for: those under its prefix. A route for one path is taken for a page of an
   * application that has more of them.
   */
  #pathOf (url: string): string {
    let path = this.#paths.get(url)
    if (path !== undefined) return path
    if (this.#prefixes.has(url)) path = url
    else if (!url.endsWith('*')) path = '/'
    else path = url.slice(0, url.search(/[:*]/)).replace(/[^/]*$/, '')
    path = (path.replace(/\/$/, '') || '/').replace(/[^\x21-\x7e]+|;/g, encodeURIComponent)
    this.#paths.set(url, path)
    return path
  }
}

function together (options: AffinityOptions): Rule['together'] {
  const given = (options as CookieOptions).together
  if (typeof given !== 'string') return given
  const [kind, name = ''] = given.split(/:(.*)/, 2)
  switch (kind) {
    case 'header': return headerOf(name)
    case 'query': return queryOf(name)
    default: return (request) => networkOf(request.ip ?? '', 32, 64)
  }
}
