/** What processes tell each other; everything else on the channel is somebody else's. */
export type FromWorker =
  /** It listens to messages from now on. */
  | { readonly headgate: 'hello' }
  | { readonly headgate: 'ready'; readonly address: string }
  /** It takes no connections any more. */
  | { readonly headgate: 'bye' }
  | { readonly headgate: 'check'; readonly result: CheckResult }
  | { readonly headgate: 'scrape'; readonly id: number }
  | { readonly headgate: 'part'; readonly id: number; readonly metrics: unknown }

export type FromPrimary =
  | { readonly headgate: 'stop' }
  /** No connection is on its way to it any more. */
  | { readonly headgate: 'gone' }
  | { readonly headgate: 'checker'; readonly you: boolean; readonly known: readonly CheckResult[] }
  | { readonly headgate: 'check'; readonly result: CheckResult }
  | { readonly headgate: 'collect'; readonly id: number }
  | { readonly headgate: 'scraped'; readonly id: number; readonly text: string }

/** As `@headgate/health` tells it. */
export interface CheckResult {
  readonly pool: string
  readonly upstream: string
  readonly ok: boolean
  readonly reason: string
  readonly latency: number
  readonly down: boolean
}
