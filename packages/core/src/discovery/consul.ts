import type { ConnectionOptions } from 'node:tls'
import type { DiscoveredUpstream, Discovery, DiscoveryKind, DiscoverySite } from './contract.ts'
import { SameEntries } from './entries.ts'
import { bracketed, type MemberProtocol, protocolSchema, timeSchema } from './options.ts'
import { again } from './pace.ts'
import { apiSchema, jsonOf, Source } from './source.ts'

export interface ConsulDiscoveryOptions {
  /** Name of the service. */
  readonly service: string
  /** Address of an agent. @default 'http://127.0.0.1:8500' */
  readonly url?: string
  /** Instances that have all of these. @default all */
  readonly tags?: readonly string[]
  /** Instances with a warning too, with their weight for warnings. @default false */
  readonly warning?: boolean
  /** Data centre. @default the agent's */
  readonly datacenter?: string
  /** Namespace, where Consul has them. @default the token's */
  readonly namespace?: string
  /** Access token. @default none */
  readonly token?: string
  /** Key of the service's or node's metadata that names the zone. @default 'zone' */
  readonly zoneMeta?: string
  /** How members are spoken to. @default the pool's: `http`, or `tcp` at layer 4 */
  readonly protocol?: MemberProtocol
  /** Milliseconds that the agent holds a question while nothing changes, 1,000–600,000. @default 300000 */
  readonly wait?: number
  /** What `tls.connect` takes. @default the system's certificate authorities */
  readonly tls?: ConnectionOptions
}

interface Instance {
  readonly Node?: { readonly Address?: string; readonly Meta?: Readonly<Record<string, string>> | null; readonly Locality?: { readonly Zone?: string } | null }
  readonly Service: {
    readonly Address?: string
    readonly Port?: number
    readonly Meta?: Readonly<Record<string, string>> | null
    readonly Weights?: { readonly Passing?: number; readonly Warning?: number } | null
    readonly Locality?: { readonly Zone?: string } | null
  }
  readonly Checks?: readonly { readonly Status: string }[] | null
}

/** Milliseconds between two questions at least: an agent whose index runs must not be asked in a tight loop. */
const LEAST = 100

/** Blocking queries: a question with the index of the last answer is held until there is a newer one. */
class ConsulDiscovery implements Discovery {
  readonly name = 'consul'
  readonly #options: ConsulDiscoveryOptions
  readonly #same = new SameEntries()
  #index = 0

  constructor (options: ConsulDiscoveryOptions) {
    this.#options = options
  }

  async start (site: DiscoverySite): Promise<void> {
    const { url = 'http://127.0.0.1:8500', token, wait = 300_000, tls = {}, service } = this.#options
    const source = new Source(url, tls, async () => token === undefined ? {} : { 'x-consul-token': token })
    await again(site, async () => {
      // The agent adds up to a sixteenth, so that not all come at once.
      const patience = wait * 17 / 16 + 10_000
      let members: readonly DiscoveredUpstream[]
      try {
        const response = await source.get(`/v1/health/service/${encodeURIComponent(service)}?${this.#query()}`, { signal: site.signal, headTimeout: patience, idleTimeout: 30_000 })
        const answer = await jsonOf(response)
        const index = Number(response.header('x-consul-index'))
        const before = this.#index
        // None, or 0, is a fault of some versions; 1 is held where there is nothing yet, 0 never is.
        if (!Number.isSafeInteger(index) || index < 1) this.#index = 1
        // One that goes back says that the servers were restored: begin anew (Consul's API, "Blocking Queries").
        else this.#index = index >= before ? index : 0
        if (before > 0 && index === before) return LEAST
        members = this.#members(answer as readonly Instance[], site.scheme)
      } catch (error) {
        this.#index = 0
        throw error
      }
      site.update(this.#same.of(members))
      return LEAST
    })
  }

  #query (): string {
    const { tags = [], warning = false, datacenter, namespace, wait = 300_000 } = this.#options
    const query = new URLSearchParams()
    if (!warning) query.set('passing', 'true')
    for (const tag of tags) query.append('tag', tag)
    if (datacenter !== undefined) query.set('dc', datacenter)
    if (namespace !== undefined) query.set('ns', namespace)
    if (this.#index > 0) {
      query.set('index', String(this.#index))
      query.set('wait', `${Math.round(wait)}ms`)
    }
    return query.toString()
  }

  #members (instances: readonly Instance[], scheme: string): DiscoveredUpstream[] {
    const { protocol = scheme, zoneMeta = 'zone' } = this.#options
    const members = new Map<string, DiscoveredUpstream>()
    for (const { Node, Service, Checks } of instances) {
      const { Port = 0, Weights } = Service
      const host = Service.Address || Node?.Address || ''
      const states = new Set(Checks?.map(({ Status }) => Status))
      if (host === '' || Port === 0 || states.has('critical') || states.has('maintenance')) continue
      const url = `${protocol}://${bracketed(host)}:${Port}`
      const zone = Service.Meta?.[zoneMeta] || Node?.Meta?.[zoneMeta] || Service.Locality?.Zone || Node?.Locality?.Zone
      const weight = Math.min(65_535, (states.has('warning') ? Weights?.Warning : Weights?.Passing) ?? 1)
      if (!members.has(url)) members.set(url, { url, weight, ...zone !== undefined && zone !== '' && { zone } })
    }
    return [...members.values()]
  }
}

/** Healthy instances of a service. */
export const consul: DiscoveryKind<ConsulDiscoveryOptions> = {
  type: 'consul',
  describe: 'The healthy instances of a Consul service, with their weights and zones.',
  properties: {
    service: { type: 'string', minLength: 1 },
    url: apiSchema,
    tags: { type: 'array', items: { type: 'string', minLength: 1 } },
    warning: { type: 'boolean' },
    datacenter: { type: 'string', minLength: 1 },
    namespace: { type: 'string', minLength: 1 },
    token: { type: 'string', minLength: 1 },
    zoneMeta: { type: 'string', minLength: 1 },
    protocol: protocolSchema,
    wait: timeSchema(1000, 600_000),
    tls: { type: 'object' }
  },
  required: ['service'],
  keepWhenEmpty: true,
  create: (options) => new ConsulDiscovery(options)
}
