import type { FastifyRequest } from 'fastify'
import { refuseRoute } from '../refuse.ts'
import type { CompiledPaths } from './path-match.ts'
import { type Template, compileFieldValue } from './template.ts'

/** Changes of header fields, made in this order. Values are templates: see `compileTemplate`. */
export interface FieldRules {
  /** Names to leave out; `x-internal-*` for all that begin so. */
  readonly remove?: readonly string[]
  /** Replaces all fields of that name. */
  readonly set?: Readonly<Record<string, string>>
  /** One more field of that name. */
  readonly append?: Readonly<Record<string, string>>
}

/** Header rules of a route, or of one of its rules. */
export interface HeaderRules {
  /** Of what is sent to upstreams, after the forwarding fields were written. */
  readonly request?: FieldRules
  /** Of what upstreams answered. */
  readonly response?: FieldRules
}

const values = { type: 'object', additionalProperties: { type: 'string', maxLength: 8192 } }
const fieldRules = {
  type: 'object',
  additionalProperties: false,
  properties: { remove: { type: 'array', items: { type: 'string' } }, set: values, append: values } satisfies Record<keyof FieldRules, object>
}

export const headersSchema: object = {
  type: 'object', additionalProperties: false, properties: { request: fieldRules, response: fieldRules } satisfies Record<keyof HeaderRules, object>
}

/** Changes a flat list of names and values in place. */
export type FieldEditor = (list: string[], request: FastifyRequest, upstream: string) => void

/** They frame messages or belong to one connection: the proxy writes them itself. */
const OURS = new Set(['connection', 'content-length', 'transfer-encoding', 'te', 'trailer', 'upgrade', 'keep-alive', 'proxy-connection', 'expect'])

function nameOf (given: string, path: string, host: boolean): string {
  const name = given.toLowerCase()
  if (!/^[!#$%&'*+.^_`|~\w-]+$/.test(name)) refuseRoute(path, 'must be the name of a header field', given)
  if (OURS.has(name)) refuseRoute(path, 'must not be a field that frames messages or belongs to a connection', given)
  if (host && name === 'host') refuseRoute(path, "must not be Host: use the route's 'host' or 'preserveHost'", given)
  return name
}

/** Compiles changes. `host`: of requests, where Host has options of its own. Throws `HG_BALANCER_INVALID_OPTION` for `path`. */
export function compileFields (rules: FieldRules, path: string, host: boolean, paths?: CompiledPaths): FieldEditor {
  const remove = (rules.remove ?? []).map((name, index) => nameOf(name, `${path}.remove[${index}]`, host))
  const compile = (kind: 'set' | 'append'): [name: string, value: Template][] => Object.entries(rules[kind] ?? {}).map(([name, text]) => {
    const at = `${path}.${kind}.${name}`
    const value = compileFieldValue(text, at, paths)
    nameOf(name, at, host)
    if (name.includes('*')) refuseRoute(at, 'must be the name of a header field', name)
    return [name, value]
  })
  const set = compile('set')
  const append = compile('append')
  const gone = new Set([...remove.filter((name) => !name.endsWith('*')), ...set.map(([name]) => name.toLowerCase())])
  const starts = remove.filter((name) => name.endsWith('*')).map((name) => name.slice(0, -1))
  // All values are made before anything is changed: a rule sees the message as it came.
  return (list, request, upstream) => {
    const filling = { request, upstream }
    const added: string[] = []
    for (const [name, value] of set) added.push(name, value(filling))
    for (const [name, value] of append) added.push(name, value(filling))
    if (gone.size > 0 || starts.length > 0) {
      let kept = 0
      for (let i = 0; i < list.length; i += 2) {
        const lower = list[i]!.toLowerCase()
        // The Host that was chosen stays, whatever `*` names.
        if (!(host && lower === 'host') && !OURS.has(lower) && (gone.has(lower) || starts.some((start) => lower.startsWith(start)))) continue
        list[kept++] = list[i]!
        list[kept++] = list[i + 1]!
      }
      list.length = kept
    }
    for (const one of added) list.push(one)
  }
}
