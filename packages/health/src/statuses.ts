import { refuse } from './refuse.ts'

/** A status, or a range such as `'200-399'`. */
export type StatusRange = number | string

export const statusesSchema: object = { type: ['integer', 'string', 'array'], items: { type: ['integer', 'string'] } }

/** Compiles statuses and ranges, 100–599, into one look-up. Throws `HG_HEALTH_INVALID_OPTION` for `path`. */
export function parseStatuses (given: StatusRange | readonly StatusRange[], path: string): ReadonlySet<number> {
  const statuses = new Set<number>()
  const list = typeof given === 'object' ? given : [given]
  if (list.length === 0) refuse(path, 'must name at least one status', given)
  for (const [index, item] of list.entries()) {
    const [, first = '', last = first] = /^(\d{3})(?:-(\d{3}))?$/.exec(String(item)) ?? []
    const [from, to] = [Number(first), Number(last)]
    if (first === '' || from < 100 || to > 599 || from > to) {
      refuse(typeof given === 'object' ? `${path}[${index}]` : path, "must be a status of 100–599 or a range such as '200-399'", item)
    }
    for (let status = from; status <= to; status++) statuses.add(status)
  }
  return statuses
}
