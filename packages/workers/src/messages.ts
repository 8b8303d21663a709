import type { Count, Counted } from './counters.ts'

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
  | { readonly headgate: 'count'; readonly id: number; readonly events: readonly Counted[] }
  | ToOthers

/** What one worker has to say to others, by way of the primary. */
export type ToOthers =
  | { readonly headgate: 'tell'; readonly to: 'others' | 'speaker'; readonly topic: string; readonly data: unknown }
  /** With an answer; `keep`: newcomers are told as well. */
  | { readonly headgate: 'ask'; readonly id: number; readonly to: 'others' | 'speaker'; readonly topic: string; readonly data: unknown; readonly keep?: true }
  | { readonly headgate: 'answer'; readonly call: number; readonly answer: Answer }

/** `nobody`: there is no one who could say anything of it. */
export type Answer =
  | { readonly data: unknown }
  | { readonly error: { readonly message: string; readonly code?: string | undefined; readonly statusCode?: number | undefined } }
  | { readonly nobody: true }

export type FromPrimary =
  | { readonly headgate: 'stop' }
  /** No connection is on its way to it any more. */
  | { readonly headgate: 'gone' }
  /** `you`: this one checks, and speaks for all. */
  | { readonly headgate: 'checker'; readonly you: boolean; readonly known: readonly CheckResult[] }
  | { readonly headgate: 'check'; readonly result: CheckResult }
  | { readonly headgate: 'collect'; readonly id: number }
  | { readonly headgate: 'scraped'; readonly id: number; readonly text: string }
  | { readonly headgate: 'counted'; readonly id: number; readonly counts: readonly Count[] }
  | FromOthers

export type FromOthers =
  | { readonly headgate: 'kept'; readonly values: readonly (readonly [topic: string, value: unknown])[] }
  | { readonly headgate: 'told'; readonly topic: string; readonly data: unknown; readonly from: number }
  | { readonly headgate: 'asked'; readonly call: number; readonly topic: string; readonly data: unknown; readonly from: number; readonly keep?: true }
  | { readonly headgate: 'answered'; readonly id: number; readonly answers: readonly (readonly [from: number, answer: Answer])[]; readonly missing: number }
  /** Nothing more comes from this one. */
  | { readonly headgate: 'left'; readonly worker: number }

/** As `@headgate/health` tells it. */
export interface CheckResult {
  readonly pool: string
  readonly upstream: string
  readonly ok: boolean
  readonly reason: string
  readonly latency: number
  readonly down: boolean
}
