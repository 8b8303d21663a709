import { isSendable, splitQuery } from '../path.ts'
import { refuseRoute } from '../refuse.ts'
import { compilePattern } from './match.ts'
import type { PatternText } from './match-options.ts'

/** A path by pattern: what `pattern` finds in it is replaced with `to`, in which `$1` … `$9` and `$<name>` are groups. */
export interface PathRewrite {
  readonly pattern: string | RegExp
  readonly to: string
}

export const rewritePathSchema: object = {
  type: 'object',
  additionalProperties: false,
  required: ['pattern', 'to'],
  properties: {
    // A RegExp is an object without properties of its own.
    pattern: { type: ['string', 'object'] }, to: { type: 'string', pattern: '^[\\x21-\\x7e]*$' }
  } satisfies Record<keyof PathRewrite, object>
}

/** The target to send instead; `undefined`: it must not be sent. */
export type PathRewriter = (target: string) => string | undefined

/** Throws `HG_BALANCER_INVALID_OPTION` for `path`. */
export function compilePathRewrite ({ pattern, to }: PathRewrite, path: string): PathRewriter {
  if (typeof pattern !== 'string' && !(pattern instanceof RegExp)) refuseRoute(`${path}.pattern`, 'must be a string or a RegExp', pattern)
  if (/[?#]/.test(to)) refuseRoute(`${path}.to`, 'must be a path alone: the query stays as it is', to)
  const compiled = compilePattern(typeof pattern === 'string' ? { pattern } satisfies PatternText : pattern, `${path}.pattern`)
  return (target) => {
    const [before, query] = splitQuery(target)
    if (before === '*') return target
    const after = before.replace(compiled, to)
    // What comes out of a client's text is checked like a client's text.
    return after === before ? target : isSendable(after) ? after + query : undefined
  }
}
