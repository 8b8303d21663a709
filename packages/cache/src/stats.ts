/** What has happened since the app was made. */
export interface CacheStats {
  /** Answered by a fresh stored response. */
  hits: number
  /** Answered by a stale one: while it is fetched again, while the origin is slow or fails, or because the client said so. */
  stale: number
  /** Answered by a stored response that the origin confirmed. */
  revalidated: number
  /** Fetched because nothing that could be used was stored. */
  misses: number
  /** Answered by the fetch of another request. */
  collapsed: number
  /** Went past the cache. */
  bypassed: number
  /** Fetches in the background. */
  background: number
  stored: number
  evicted: number
}

export function noStats (): CacheStats {
  return { hits: 0, stale: 0, revalidated: 0, misses: 0, collapsed: 0, bypassed: 0, background: 0, stored: 0, evicted: 0 }
}
