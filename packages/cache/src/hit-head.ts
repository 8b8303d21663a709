import { type Prepared, prepared } from './prepared.ts'
import { RecentItems } from './recent-items.ts'

/** The fields of a hit, all of them and without those that a 304 leaves out, as they are for the second in which the response has this age. */
export interface HitHead {
  /** −1: it was dropped. */
  second: number
  whole: Prepared
  /** Made for the first 304. */
  bodyless: Prepared | undefined
}

/** Heads that are kept at one time: a million small responses that are hit now and then should not each hold their fields twice. */
const KEPT = 8192
const NONE: Prepared = prepared([])
const kept = new RecentItems<HitHead>(KEPT, KEPT, (head) => {
  head.second = -1
  head.whole = NONE
  head.bodyless = undefined
})

/** A head for this second, in the place of the one before. */
export function renewed (before: HitHead | undefined, second: number, fields: string[]): HitHead {
  const whole = prepared(fields)
  if (before !== undefined && before.second !== -1) {
    before.second = second
    before.whole = whole
    before.bodyless = undefined
    return before
  }
  const head = { second, whole, bodyless: undefined }
  kept.add(head, 1)
  return head
}
