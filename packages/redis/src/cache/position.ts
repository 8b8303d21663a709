/**
 * A place in the log of purges, written so that places compare as texts: `000001764000000000-0000000000`. An entry carries the place up to
 * which its process knew all purges when it was fetched, so a purge behind it is one that it has to obey.
 */
export type Position = string

export const START: Position = `${'0'.repeat(15)}-${'0'.repeat(10)}`

/** From the id of a record in a stream, `1764000000000-0`. */
export function positionOf (id: string): Position {
  const [ms = '0', seq = '0'] = id.split('-')
  return `${ms.padStart(15, '0')}-${seq.padStart(10, '0')}`
}

/** The next place: for what only this process knows of yet. Records that come later have a later time. */
export function after (position: Position): Position {
  const [ms = '', seq = ''] = position.split('-')
  return `${ms}-${String(Number(seq) + 1).padStart(10, '0')}`
}
