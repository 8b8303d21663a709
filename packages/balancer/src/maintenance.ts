import type { onRequestHookHandler } from 'fastify'
import { MaintenanceError, UnknownRouteError } from './errors.ts'
import { type Page, compilePages } from './pages/compile.ts'
import { type ErrorPage, pageSchema } from './pages/options.ts'
import { attachPages } from './pages/send.ts'
import { type Matcher, compileMatch } from './routing/match.ts'
import { type RuleMatch, matchSchema } from './routing/match-options.ts'

/** What routes answer (503) while they are closed for maintenance, and to whom not. */
export interface MaintenanceOptions {
  /** They are closed from the start. @default false */
  readonly active?: boolean
  /** The page, or one for each of several media types. @default the route's `errorPages` for 503, else a problem document */
  readonly page?: ErrorPage | readonly ErrorPage[]
  /** Seconds until clients should come again (`Retry-After`), 0–31,536,000. @default not told */
  readonly retryAfter?: number
  /** Who gets through all the same, as `match` of rules says it; several: any of them. @default nobody */
  readonly except?: RuleMatch | readonly RuleMatch[]
}

export const maintenanceSchema: object = {
  type: 'object',
  additionalProperties: false,
  properties: {
    active: { type: 'boolean' },
    page: pageSchema,
    retryAfter: { type: 'integer', minimum: 0, maximum: 31_536_000 },
    except: { anyOf: [matchSchema, { type: 'array', items: matchSchema }] }
  } satisfies Record<keyof MaintenanceOptions, object>
}

/** One route's gate. */
export class Gate {
  active: boolean
  readonly #pages: readonly Page[] | undefined
  readonly #retryAfter: number | undefined
  readonly #except: readonly Matcher[]

  /** Throws `HG_BALANCER_INVALID_OPTION` for `path`. */
  constructor (options: MaintenanceOptions, path: string) {
    this.active = options.active ?? false
    this.#pages = options.page && compilePages(options.page, `${path}.page`)
    this.#retryAfter = options.retryAfter
    const except = ([options.except ?? []] as const).flat() as readonly RuleMatch[]
    this.#except = except.map((match, index) => compileMatch(match, Array.isArray(options.except) ? `${path}.except[${index}]` : `${path}.except`).matches ?? everybody)
  }

  /** The route's hook: refuses whom it does not let through. */
  readonly hook: onRequestHookHandler = (request, reply, done) => {
    if (!this.active || this.#except.some((matches) => matches(request))) return done()
    if (this.#retryAfter !== undefined) reply.header('retry-after', String(this.#retryAfter))
    const error = new MaintenanceError()
    attachPages(error, this.#pages)
    done(error)
  }
}

const everybody: Matcher = () => true

/** Closes routes for maintenance, and opens them, while the app runs. */
export class Maintenance {
  readonly #gates = new Map<string, Gate>()
  readonly #changed: (prefix: string, active: boolean) => void

  /** `changed` hears of each route that is closed or opened. */
  constructor (changed: (prefix: string, active: boolean) => void) {
    this.#changed = changed
  }

  /** By prefix: is it closed? */
  get routes (): Record<string, boolean> {
    return Object.fromEntries([...this.#gates].map(([prefix, { active }]) => [prefix, active]))
  }

  /** Is any route closed? */
  get active (): boolean {
    return [...this.#gates.values()].some(({ active }) => active)
  }

  /** Closes routes by their prefixes; without any, all. Requests that run go on. Throws `HG_BALANCER_UNKNOWN_ROUTE`, and then changes nothing. */
  begin (...prefixes: string[]): void { this.#set(prefixes, true) }

  /** Opens them again. Throws `HG_BALANCER_UNKNOWN_ROUTE`, and then changes nothing. */
  end (...prefixes: string[]): void { this.#set(prefixes, false) }

  /** Called by the plugin for each of its routes. */
  add (prefix: string, gate: Gate): void {
    this.#gates.set(prefix, gate)
  }

  #set (prefixes: readonly string[], active: boolean): void {
    for (const prefix of prefixes) if (!this.#gates.has(prefix)) throw new UnknownRouteError(prefix, [...this.#gates.keys()].join(', '))
    for (const [prefix, gate] of this.#gates) {
      if (gate.active === active || (prefixes.length > 0 && !prefixes.includes(prefix))) continue
      gate.active = active
      this.#changed(prefix, active)
    }
  }
}
