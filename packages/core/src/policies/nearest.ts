import type { Environment } from '../clock.ts'
import { adaptive } from './adaptive.ts'
import type { Candidate, Location, PickContext, Policy, Selector } from './contract.ts'

export interface NearestOptions {
  /** The zone that this proxy is in: its upstreams come first. @default none */
  readonly zone?: string
  /** Where this proxy is; used for clients whose place is not known. @default none: then only zones count */
  readonly location?: Location
  /**
   * What nearness is: the great circle, or the time that connections to a site take to open, measured as they are (a moving mean).
   * @default 'location'
   */
  readonly by?: 'location' | 'latency'
  /** Chooses within a site. @default adaptive */
  readonly policy?: Policy
  /** Requests in flight per unit of weight from which a site passes on to the next nearest, above 0. @default 64 */
  readonly spillOver?: number
  /**
   * Share of a site's whole weight, 0–1, that has to be ready for it to get all that it is nearest to; with less, it keeps a share of that
   * in proportion and passes the rest on. 0: it gets all as long as anybody is ready. @default 0.7
   */
  readonly minCapacity?: number
}

export const locationSchema: object = {
  type: 'object',
  additionalProperties: false,
  required: ['latitude', 'longitude'],
  properties: { latitude: { type: 'number', minimum: -90, maximum: 90 }, longitude: { type: 'number', minimum: -180, maximum: 180 } }
}

export const nearestSchema: Readonly<Record<keyof NearestOptions, object>> = {
  zone: { type: 'string', minLength: 1 },
  location: locationSchema,
  by: { type: 'string', enum: ['location', 'latency'] },
  policy: { type: 'object', required: ['create'] },
  spillOver: { type: 'number', exclusiveMinimum: 0 },
  minCapacity: { type: 'number', minimum: 0, maximum: 1 }
}

/** Upstreams of one zone at one place. */
interface Site<T extends Candidate> {
  readonly local: boolean
  /** Unit vector from the Earth's centre; undefined when nobody said where it is. */
  readonly place: readonly [number, number, number] | undefined
  readonly selector: Selector<T>
  members: T[]
  weight: number
  flying: number
  /** Weight of all its members, and the share of requests that it keeps by that. */
  whole: number
  keep: number
  /** Moving mean of the milliseconds to open a connection; Infinity before the first. */
  latency: number
  /** When one was opened, or ought to have been, last. */
  triedAt: number
  /** The request that passed it over last. */
  passedBy: number
}

/** Each measurement counts a quarter: a changed path shows after a few. */
const WEIGHT = 1 / 4
/** Milliseconds after which a site to which no connection was opened gets one request, to be measured anew. */
const MEASURE = 60_000

const RADIANS = Math.PI / 180

function unitVector ({ latitude, longitude }: Location): readonly [number, number, number] {
  const level = Math.cos(latitude * RADIANS)
  return [level * Math.cos(longitude * RADIANS), level * Math.sin(longitude * RADIANS), Math.sin(latitude * RADIANS)]
}

class Nearest<T extends Candidate> implements Selector<T> {
  readonly #environment: Environment
  readonly #zone: string | undefined
  readonly #place: readonly [number, number, number] | undefined
  readonly #policy: Policy
  readonly #spillOver: number
  readonly #minCapacity: number
  readonly #byLatency: boolean
  readonly #sites = new Map<string, Site<T>>()
  /** Unit vector of where the request at hand comes from, when that is known. */
  readonly #from = new Float64Array(3)
  #ready: Site<T>[] = []
  /** Some site has too little capacity. */
  #short = false
  #requests = 0
  readonly #bySlot: (Site<T> | undefined)[] = []

  constructor (environment: Environment, { zone, location, by = 'location', policy = adaptive, spillOver = 64, minCapacity = 0.7 }: NearestOptions) {
    this.#environment = environment
    this.#zone = zone
    this.#place = location && unitVector(location)
    this.#policy = policy
    this.#spillOver = spillOver
    this.#minCapacity = minCapacity
    this.#byLatency = by === 'latency'
  }

  rebuild (ready: readonly T[], tier: readonly T[] = ready): void {
    for (const site of this.#ready) {
      site.members = []
      site.weight = site.flying = site.whole = 0
    }
    const sites = new Set<Site<T>>()
    for (const candidate of ready) {
      const site = this.#siteOf(candidate)
      site.members.push(candidate)
      site.weight += candidate.weight
      site.flying += candidate.load.inFlight
      sites.add(site)
    }
    this.#ready = [...sites]
    for (const candidate of tier) {
      const site = this.#siteOf(candidate)
      if (sites.has(site)) site.whole += candidate.configuredWeight
    }
    this.#short = false
    for (const site of sites) {
      // One that stands alone has nobody to pass on to.
      site.keep = this.#minCapacity === 0 || sites.size === 1 ? 1 : site.weight / (site.whole * this.#minCapacity)
      if (site.keep < 1) this.#short = true
    }
    for (const site of sites) site.selector.rebuild(site.members)
  }

  select (context: PickContext): T {
    if (this.#byLatency) {
      const due = this.#unmeasured()
      if (due !== undefined) return due.selector.select(context)
    }
    const located = this.#locate(context)
    const request = ++this.#requests
    let site = this.#nearest(located, true)
    while (this.#short && site !== undefined && site.keep < 1 && this.#environment.random() >= site.keep) {
      site.passedBy = request
      site = this.#nearest(located, true)
    }
    return (site ?? this.#idlest()).selector.select(context)
  }

  alternative (context: PickContext, usable: (candidate: T) => boolean): T | undefined {
    const located = this.#locate(context)
    const tried = new Set<Site<T>>()
    for (let left = this.#ready.length; left > 0; left--) {
      const site = this.#nearest(located, false, tried)!
      tried.add(site)
      const found = site.selector.alternative === undefined ? site.members.find(usable) : site.selector.alternative(context, usable)
      if (found !== undefined) return found
    }
    return undefined
  }

  joined (candidate: T): void { this.#siteOf(candidate).selector.joined?.(candidate) }
  recovered (candidate: T): void { this.#siteOf(candidate).selector.recovered?.(candidate) }

  left (candidate: T): void {
    this.#siteOf(candidate).selector.left?.(candidate)
    this.#bySlot[candidate.slot] = undefined
  }

  started (candidate: T, now: number): void {
    const site = this.#siteOf(candidate)
    site.flying++
    site.selector.started?.(candidate, now)
  }

  answered (candidate: T, now: number, startedAt: number): void {
    this.#siteOf(candidate).selector.answered?.(candidate, now, startedAt)
  }

  finished (candidate: T, now: number, startedAt: number, latency: number, ok: boolean | undefined, answered?: boolean): void {
    const site = this.#siteOf(candidate)
    site.flying = Math.max(0, site.flying - 1)
    site.selector.finished?.(candidate, now, startedAt, latency, ok, answered)
  }

  connected (candidate: T, now: number, latency: number): void {
    const site = this.#siteOf(candidate)
    site.latency = site.latency === Infinity ? latency : site.latency + (latency - site.latency) * WEIGHT
    site.triedAt = now
    site.selector.connected?.(candidate, now, latency)
  }

  /** Notes where the request comes from: its client, else this proxy. False: nobody knows. */
  #locate (context: PickContext): boolean {
    const place = context.clientLocation
    if (place === undefined) {
      if (this.#place !== undefined) this.#from.set(this.#place)
      return this.#place !== undefined
    }
    const level = Math.cos(place.latitude * RADIANS)
    this.#from[0] = level * Math.cos(place.longitude * RADIANS)
    this.#from[1] = level * Math.sin(place.longitude * RADIANS)
    this.#from[2] = Math.sin(place.latitude * RADIANS)
    return true
  }

  /** The proxy's own zone, then by great circle (the larger the dot product the nearer), then those of unknown place. */
  #nearest (located: boolean, withRoom: boolean, except?: ReadonlySet<Site<T>>): Site<T> | undefined {
    const from = this.#from
    let best: Site<T> | undefined
    let high = -Infinity
    for (const site of this.#ready) {
      if (except?.has(site) === true || (withRoom && (site.flying >= this.#spillOver * site.weight || site.passedBy === this.#requests))) continue
      const { place, local } = site
      let nearness: number
      if (this.#byLatency) nearness = (local ? 2e9 : 0) - Math.min(site.latency, 1e9)
      else nearness = (local ? 3 : 0) + (!located || place === undefined ? -2 : from[0]! * place[0] + from[1]! * place[1] + from[2]! * place[2])
      if (nearness <= high) continue
      best = site
      high = nearness
    }
    return best
  }

  /** A site whose latency nobody knows, or has not seen for long: one request goes there. Not all at once, but when its time has come. */
  #unmeasured (): Site<T> | undefined {
    const now = this.#environment.clock.now()
    for (const site of this.#ready) {
      if (now - site.triedAt < MEASURE) continue
      site.triedAt = now - MEASURE * 0.2 * this.#environment.random()
      return site
    }
    return undefined
  }

  #idlest (): Site<T> {
    let best = this.#ready[0]!
    for (const site of this.#ready) if (site.flying * best.weight < best.flying * site.weight) best = site
    return best
  }

  #siteOf (candidate: T): Site<T> {
    const known = this.#bySlot[candidate.slot]
    if (known !== undefined) return known
    const { zone, location } = candidate
    const key = JSON.stringify([zone, location?.latitude, location?.longitude])
    let site = this.#sites.get(key)
    if (site === undefined) {
      const selector = this.#policy.create<T>(this.#environment)
      const place = location && unitVector(location)
      site = {
        local: zone !== undefined && zone === this.#zone, place, selector, members: [], weight: 0, flying: 0, whole: 0, keep: 1,
        latency: Infinity, triedAt: -Infinity, passedBy: -1
      }
      this.#sites.set(key, site)
    }
    this.#bySlot[candidate.slot] = site
    return site
  }
}

/** The nearest site that has room: own zone, then distance to the client (or, unknown, to this proxy). */
export function nearest (options: NearestOptions = {}): Policy {
  const { spillOver = 64, minCapacity = 0.7, location } = options
  if (!(spillOver > 0)) throw new RangeError(`spillOver must be above 0, not ${spillOver}`)
  if (!(minCapacity >= 0 && minCapacity <= 1)) throw new RangeError(`minCapacity must be 0–1, not ${minCapacity}`)
  if (location !== undefined && !(Math.abs(location.latitude) <= 90 && Math.abs(location.longitude) <= 180)) {
    throw new RangeError(`location must be within latitude ±90 and longitude ±180, not ${JSON.stringify(location)}`)
  }
  return {
    name: 'nearest',
    describe: 'Own zone first, then the shortest great circle or handshake; passes on to the next site what the nearest cannot take.',
    create: <T extends Candidate> (environment: Environment) => new Nearest<T>(environment, options)
  }
}
