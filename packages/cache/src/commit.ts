import type { Entry } from './entry.ts'
import type { CacheStore, EntryWriter, MaybePromise } from './store/contract.ts'

/**
 * Completes what a writer was given, in place of `replaced`, unless it is not wanted any more when it could be found: a purge that came meanwhile has not
 * seen it. Gives whether it is stored.
 */
export function commit (store: CacheStore, writer: EntryWriter, entry: Entry, replaced: readonly Entry[], wanted: () => boolean): MaybePromise<boolean> {
  if (!wanted()) {
    writer.abort()
    return false
  }
  const keep = (stored: boolean): boolean => {
    if (!stored || wanted()) return stored
    store.delete(entry)
    return false
  }
  const stored = writer.commit(replaced, wanted)
  return stored instanceof Promise ? stored.then(keep) : keep(stored)
}
