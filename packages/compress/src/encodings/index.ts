import { br } from './br.ts'
import type { Encoding } from './contract.ts'
import { deflate } from './deflate.ts'
import { gzip } from './gzip.ts'
import { zstd } from './zstd.ts'

export type * from './contract.ts'

export const encodingNames = ['zstd', 'br', 'gzip', 'deflate'] as const
export type EncodingName = (typeof encodingNames)[number]

/** The built-in codings that the running Node has, in the default order of preference: cheapest for about the same bytes first. */
export const builtIn: ReadonlyMap<string, Encoding> = new Map([zstd, br, gzip, deflate]
  .filter((encoding) => encoding !== undefined).map((encoding) => [encoding.name, encoding]))
