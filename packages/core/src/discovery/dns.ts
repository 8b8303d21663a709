import { isIP } from 'node:net'
import type { SrvData } from 'dns-packet'
import { refuse } from '../options.ts'
import { addressOf, type DnsAnswer, DnsClient, plain } from './dns-client.ts'
import type { DiscoveredUpstream, Discovery, DiscoveryKind, DiscoverySite } from './contract.ts'
import { SameEntries } from './entries.ts'
import { bracketed, type MemberProtocol, protocolSchema, timeSchema } from './options.ts'
import { again, delayAfter, spread } from './pace.ts'

export interface DnsDiscoveryOptions {
  /** The whole name, without search list: `web.example`, or `_http._tcp.web.example` for SRV. */
  readonly name: string
  /**
   * `address`: each A and AAAA record is a member. `srv`: each SRV record is one, with its port, weight and tier.
   * @default 'srv' for names that begin with '_'
   */
  readonly records?: 'address' | 'srv'
  /** Port of the members, 1–65,535, where records are addresses. @default 80 or 443 for HTTP; elsewhere it is required */
  readonly port?: number
  /** How members are spoken to. @default the pool's: `http`, or `tcp` at layer 4 */
  readonly protocol?: MemberProtocol
  /** Address family: 4, 6, or 0 for both. @default 0 */
  readonly family?: 0 | 4 | 6
  /** Whom to ask: `address` or `address:port`, `[v6]:port`. @default what the system has configured */
  readonly servers?: readonly string[]
  /** Milliseconds for one server's answer, 1–60,000. Each is asked twice. @default 2000 */
  readonly timeout?: number
  /** The answer is asked for again when its TTL is over, but after no less than this many milliseconds, 1–3,600,000. @default 1000 */
  readonly minTtl?: number
  /** … and no more than this many, 1–86,400,000. @default 30000 */
  readonly maxTtl?: number
  /** Share of members found by address, 0–65,535. @default 1 */
  readonly weight?: number
  /** Zone of all that is found. @default none */
  readonly zone?: string
}

const PORTS: Readonly<Partial<Record<MemberProtocol, number>>> = { http: 80, https: 443 }

/** Questions that are asked at once: each has a socket of its own. */
const AT_ONCE = 64

class DnsDiscovery implements Discovery {
  readonly name = 'dns'
  readonly #options: DnsDiscoveryOptions
  readonly #path: string
  /** The last good answer for each name and type: a question that fails later is answered with it. */
  #known = new Map<string, readonly (string | SrvData)[]>()
  readonly #same = new SameEntries()
  #complaint = ''

  constructor (options: DnsDiscoveryOptions, path: string) {
    this.#options = options
    this.#path = path
  }

  async start (site: DiscoverySite): Promise<void> {
    const { name, records = name.startsWith('_') ? 'srv' : 'address', servers, timeout = 2000, minTtl = 1000, maxTtl = 30_000 } = this.#options
    const protocol = this.#options.protocol ?? site.scheme
    const port = this.#options.port ?? PORTS[protocol]
    if (records === 'address' && port === undefined) refuse(`${this.#path}.port`, `is required for ${protocol}`, undefined)
    const client = new DnsClient({ servers, timeout }, site.environment.clock)
    /** Times in a row that a part of the questions had no answer. */
    let failures = 0
    await again(site, async () => {
      const round = new Round(client, this.#known, site.signal)
      const members = records === 'srv' ? await this.#services(round, protocol) : await this.#addresses(round, protocol, port!)
      if (round.answers === 0) throw new Error(round.error)
      // A name of which nothing is known any more is forgotten.
      this.#known = round.known
      site.update(members)
      // A server that cannot answer for one family will never do so: that is no reason to ask less often for the other.
      if (round.error !== '' && round.error !== this.#complaint) site.failed(new Error(round.error))
      this.#complaint = round.error
      failures = round.error === '' ? 0 : failures + 1
      const wait = spread(site, Math.min(maxTtl, round.ttl * 1000))
      return Math.max(minTtl, failures === 0 ? wait : Math.min(wait, delayAfter(failures, site)))
    })
  }

  async #addresses (round: Round, protocol: MemberProtocol, port: number): Promise<readonly DiscoveredUpstream[]> {
    const { name, weight, zone } = this.#options
    const host = port === PORTS[protocol] ? plain(name) : `${plain(name)}:${port}`
    return this.#named((await this.#lookup(round, name)).map((address) => ({
      url: `${protocol}://${bracketed(address)}:${port}`,
      ...protocol !== 'tcp' && protocol !== 'udp' && { host },
      ...weight !== undefined && { weight },
      ...zone !== undefined && { zone }
    })))
  }

  /** RFC 2782. A server has one record, and all its addresses: they are raced at each connection. */
  async #services (round: Round, protocol: MemberProtocol): Promise<readonly DiscoveredUpstream[]> {
    const { zone } = this.#options
    // A lone '.' says that the service is not there.
    const services = (await round.ask(this.#options.name, 'SRV') as readonly SrvData[]).filter(({ target }) => plain(target) !== '')
      // A server that is named twice is where it is preferred.
      .sort((one, other) => (one.priority ?? 0) - (other.priority ?? 0) || (other.weight ?? 0) - (one.weight ?? 0))
    const tiers = [...new Set(services.map(({ priority = 0 }) => priority))].sort((a, b) => a - b)
    // Beside others of its tier, 0 means 'a very small chance'; alone, that nobody cares.
    const leasts = tiers.map((tier) => {
      const least = Math.min(...services.flatMap(({ priority = 0, weight = 0 }) => priority === tier && weight > 0 ? [weight] : []))
      return least === Infinity ? 1 : least / 100
    })
    const members = await Promise.all(services.map(async ({ target, port, priority = 0, weight = 0 }) => {
      const addresses = await this.#lookup(round, target)
      return {
        url: `${protocol}://${plain(target)}:${port}`,
        addresses,
        weight: weight === 0 ? leasts[tiers.indexOf(priority)]! : weight,
        priority: Math.min(255, tiers.indexOf(priority)),
        ...zone !== undefined && { zone }
      }
    }))
    return this.#named(members.filter(({ addresses }) => addresses.length > 0))
  }

  /** In an order of their own, as servers turn theirs round; IPv6 first (RFC 8305 4). */
  async #lookup (round: Round, name: string): Promise<string[]> {
    const { family = 0 } = this.#options
    const types = family === 4 ? ['A'] as const : family === 6 ? ['AAAA'] as const : ['AAAA', 'A'] as const
    const found = await Promise.all(types.map(async (type) => [...await round.ask(name, type) as readonly string[]].sort()))
    return [...new Set(found.flat().filter((address) => isIP(address) !== 0))]
  }

  /** The first of each address. */
  #named (members: readonly Exclude<DiscoveredUpstream, string>[]): readonly DiscoveredUpstream[] {
    const seen = new Set<string>()
    return this.#same.of(members.filter(({ url }) => !seen.has(url!) && seen.add(url!)))
  }
}

/** The questions of one time: where there is no answer, what was known goes on. */
class Round {
  readonly known = new Map<string, readonly (string | SrvData)[]>()
  answers = 0
  /** What went wrong first. */
  error = ''
  /** Seconds. */
  ttl = Infinity
  readonly #client: DnsClient
  readonly #before: ReadonlyMap<string, readonly (string | SrvData)[]>
  readonly #signal: AbortSignal
  readonly #extra = new Map<string, Pick<DnsAnswer, 'records' | 'ttl'>>()
  #asking = 0
  readonly #waiting: (() => void)[] = []

  constructor (client: DnsClient, before: ReadonlyMap<string, readonly (string | SrvData)[]>, signal: AbortSignal) {
    this.#client = client
    this.#before = before
    this.#signal = signal
  }

  async ask (name: string, type: 'A' | 'AAAA' | 'SRV'): Promise<readonly (string | SrvData)[]> {
    const key = `${type} ${plain(name)}`
    try {
      const { records, ttl } = this.#extra.get(key) ?? this.#noted(await this.#inTurn(() => this.#client.ask(name, type, this.#signal)))
      this.ttl = Math.min(this.ttl, ttl)
      this.answers++
      this.known.set(key, records)
      return records
    } catch (error) {
      this.#signal.throwIfAborted()
      this.error ||= (error as Error).message
      const records = this.#before.get(key)
      if (records !== undefined) this.known.set(key, records)
      return records ?? []
    }
  }

  async #inTurn<T> (ask: () => Promise<T>): Promise<T> {
    if (this.#asking === AT_ONCE) await new Promise<void>((resolve) => { this.#waiting.push(resolve) })
    else this.#asking++
    try {
      return await ask()
    } finally {
      const next = this.#waiting.shift()
      if (next === undefined) this.#asking--
      else next()
    }
  }

  /** Addresses that came with an SRV answer need not be asked for; that none came of a family says nothing. */
  #noted (answer: DnsAnswer): DnsAnswer {
    for (const [name, { found, ttl }] of answer.addresses) {
      for (const [type, family] of [['A', 4], ['AAAA', 6]] as const) {
        const records = found.filter((address) => isIP(address) === family)
        if (records.length > 0) this.#extra.set(`${type} ${name}`, { records, ttl })
      }
    }
    return answer
  }
}

/** A name whose records are the members, asked for again as its TTL says. */
export const dns: DiscoveryKind<DnsDiscoveryOptions> = {
  type: 'dns',
  describe: 'The A and AAAA, or the SRV, records of a name, asked for again when their TTL is over.',
  properties: {
    name: { type: 'string', pattern: '^[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*\\.?$', maxLength: 254 },
    records: { type: 'string', enum: ['address', 'srv'] },
    port: { type: 'integer', minimum: 1, maximum: 65_535 },
    protocol: protocolSchema,
    family: { enum: [0, 4, 6] },
    servers: { type: 'array', minItems: 1, items: { type: 'string' } },
    timeout: timeSchema(1, 60_000),
    minTtl: timeSchema(1, 3_600_000),
    maxTtl: timeSchema(1, 86_400_000),
    weight: { type: 'number', minimum: 0, maximum: 65_535 },
    zone: { type: 'string', minLength: 1 }
  },
  required: ['name'],
  keepWhenEmpty: true,
  create (options, path) {
    const wrong = options.servers?.find((server) => {
      const [host, port] = addressOf(server)
      return isIP(host) === 0 || port < 1 || port > 65_535
    })
    if (wrong !== undefined) refuse(`${path}.servers`, "must be addresses such as '10.0.0.2', '10.0.0.2:5353', '[::1]:53'", wrong)
    if ((options.minTtl ?? 1000) > (options.maxTtl ?? 30_000)) refuse(`${path}.minTtl`, 'must not be above maxTtl', options.minTtl)
    return new DnsDiscovery(options, path)
  }
}
