/** What processes tell each other; everything else on the channel is somebody else's. */
export type FromWorker =
  | { readonly headgate: 'ready'; readonly address: string }
  | { readonly headgate: 'check'; readonly result: CheckResult }
  | { readonly headgate: 'scrape'; readonly id: number }
  | { readonly headgate: 'part'; readonly id: number; readonly metrics: unknown }

export type FromPrimary =
  | { readonly headgate: 'stop' }
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
