import type { Change } from './model.ts'

/** What the routes ask: answered by the worker that speaks for all, which may be another. Plain data. */
export type Question =
  | { readonly what: 'pools' | 'routing' }
  | { readonly what: 'pool' | 'upstreams'; readonly pool: string }
  | { readonly what: 'upstream'; readonly pool: string; readonly id: string }
  | { readonly what: 'series'; readonly pool: string | undefined }
  | { readonly what: 'events'; readonly after: number; readonly limit: number }
  /** The first words of a stream: body is text. */
  | { readonly what: 'join'; readonly after: number }
  | ChangeQuestion
  | { readonly what: 'purge'; readonly purge: object; readonly actor: string }

export interface ChangeQuestion {
  readonly what: 'change'
  readonly changes: readonly Change[]
  readonly ifMatch: string | undefined
  readonly dryRun: boolean
  /** Without `If-Match` it is refused. */
  readonly required: boolean
  /** Who asks. */
  readonly actor: string
}

export interface Reply {
  /** Of the pool that it is about, or of routing; '' where it is about neither. */
  readonly etag: string
  readonly body: unknown
}
