import type { Environment } from './clock.ts'
import { Health, type HealthChange } from './health.ts'
import { Load } from './load.ts'
import type { Candidate, Location } from './policies/contract.ts'
import type { Target } from './target.ts'
import type { Transport } from './transport/contract.ts'
import type { Protocol } from './transport/http2/options.ts'

/** What an upstream is made of, checked and complete. */
export interface UpstreamSettings {
  readonly id: string
  readonly target: Target
  readonly weight: number
  readonly zone: string | undefined
  readonly location: Location | undefined
  readonly priority: number
  readonly maxInFlight: number
  readonly protocol: Protocol
}

/** One origin server in one pool. */
export class Upstream implements Candidate {
  readonly id: string
  readonly slot: number
  readonly target: Target
  readonly zone: string | undefined
  readonly location: Location | undefined
  /** Tier: 0 is used first; a higher one only when no lower one has anybody ready. The pool alone writes it. */
  priority: number
  /** What is spoken to it. */
  readonly protocol: Protocol
  readonly health: Health
  readonly load: Load = new Load()
  readonly transport: Transport
  /** Effective weight; the pool alone writes it. */
  weight: number
  /** The weight as configured or set at run time; the pool alone writes it. 0: no new work. */
  configuredWeight: number
  /** Attempts at once; `Infinity`: no bound. */
  maxInFlight: number
  /** Clock time at which its slow start began; −Infinity when none runs. */
  slowStartedAt: number = -Infinity

  constructor (
    settings: UpstreamSettings, slot: number, transport: Transport, environment: Environment,
    changed: (upstream: Upstream, change: HealthChange | undefined) => void
  ) {
    this.id = settings.id
    this.slot = slot
    this.target = settings.target
    this.zone = settings.zone
    this.location = settings.location
    this.priority = settings.priority
    this.protocol = settings.protocol
    this.weight = this.configuredWeight = settings.weight
    this.maxInFlight = settings.maxInFlight
    this.transport = transport
    this.health = new Health(environment, (change) => changed(this, change))
  }

  /** The address in its normal form. */
  get url (): string { return this.target.href }
  /** May be given new work by the policy. */
  get ready (): boolean { return this.health.ready && this.configuredWeight > 0 }
  /** Has room for one more attempt. */
  get hasRoom (): boolean { return this.load.inFlight < this.maxInFlight }
}
