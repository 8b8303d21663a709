/** As much of a request as is read here: `@headgate/balancer` adds `decision`. */
interface Decided {
  readonly decision?: {
    readonly pool: string
    readonly attempts: readonly {
      readonly upstream: string
      readonly url: string
      readonly choice: string
      readonly reason: string
      readonly status: number
      readonly start: number
      readonly head: number | null
      readonly duration: number | null
      readonly sent: number
      readonly received: number
    }[]
  } | null
}

/** Fields named as nginx's `$upstream_*` variables, one value for each attempt, joined by `, `; times in seconds. */
export interface UpstreamLog {
  readonly upstream_pool: string
  readonly upstream_addr: string
  readonly upstream_status: string
  readonly upstream_header_time: string
  readonly upstream_response_time: string
  readonly upstream_bytes_sent: string
  readonly upstream_bytes_received: string
  /** Seconds before the first attempt. */
  readonly upstream_queue_time: string
  /** What made the pool choose each. */
  readonly upstream_choice: string
  /** Why each failed or was repeated; `-` where it was not. */
  readonly upstream_reason: string
}

const seconds = (ms: number | null): string => ms === null ? '-' : (ms / 1000).toFixed(3)

/**
 * Serializer for pino and for a log line of your own: `{ serializers: { upstream: upstreamSerializer } }`, then
 * `request.log.info({ upstream: request }, 'answered')` in an `onResponse` hook. `undefined` for requests that were not forwarded.
 */
export function upstreamSerializer (request: object): UpstreamLog | undefined {
  const { decision } = request as Decided
  if (decision === null || decision === undefined) return undefined
  const { attempts, pool } = decision
  const each = (value: (attempt: typeof attempts[number]) => string): string => attempts.map(value).join(', ') || '-'
  return {
    upstream_pool: pool,
    upstream_addr: each(({ url }) => url.replace(/^https?:\/\//, '')),
    upstream_status: each(({ status }) => status === 0 ? '-' : String(status)),
    upstream_header_time: each(({ head }) => seconds(head)),
    upstream_response_time: each(({ duration }) => seconds(duration)),
    upstream_bytes_sent: each(({ sent }) => String(sent)),
    upstream_bytes_received: each(({ received }) => String(received)),
    upstream_queue_time: seconds(attempts[0]?.start ?? null),
    upstream_choice: each(({ choice }) => choice),
    upstream_reason: each(({ reason }) => reason || '-')
  }
}
