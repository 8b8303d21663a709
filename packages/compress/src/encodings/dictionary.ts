import { randomBytes } from 'node:crypto'
import { brotliCompress, brotliCompressSync, type BrotliOptions, constants } from 'node:zlib'
import type { CodingDone } from './contract.ts'
import { nodeZstd } from './zstd.ts'

/** A coding whose bytes start with a magic number and the dictionary's SHA-256 (RFC 9842 section 4). */
export interface DictionaryEncoding {
  readonly name: 'dcb' | 'dcz'
  readonly magic: Buffer
  /** Without the header of `magic` and hash. */
  encode (body: Buffer, dictionary: Buffer, done: CodingDone): void
}

// The types of Node 20 know no brotli dictionaries, which came with Node 24.
type WithDictionary = BrotliOptions & { dictionary: Buffer }

const brOptions = (body: Buffer, dictionary: Buffer): WithDictionary => ({
  dictionary, params: { [constants.BROTLI_PARAM_QUALITY]: 9, [constants.BROTLI_PARAM_SIZE_HINT]: body.length }
})

// An asset of which a former version is out is sent often, so these levels are above those for dynamic bodies.
const dcb: DictionaryEncoding = {
  name: 'dcb',
  magic: Buffer.from([0xff, 0x44, 0x43, 0x42]),
  encode: (body, dictionary, done) => { brotliCompress(body, brOptions(body, dictionary), done) }
}

const dcz: DictionaryEncoding = {
  name: 'dcz',
  magic: Buffer.from([0x5e, 0x2a, 0x4d, 0x18, 0x20, 0, 0, 0]),
  encode: (body, dictionary, done) => {
    nodeZstd!.zstdCompress(body, { dictionary, params: { [nodeZstd!.constants.ZSTD_c_compressionLevel]: 12 } }, done)
  }
}

/** Some Node versions accept the option and ignore it: only the result tells. */
function works (compress: (body: Buffer, dictionary: Buffer) => Buffer): boolean {
  const sample = randomBytes(1024)
  try {
    return compress(sample, sample).length < 256
  } catch {
    return false
  }
}

/** The dictionary codings that the running Node can make, best first: zstd from Node 22.19 and 24.6 on, brotli in some of 24. */
export function dictionaryEncodings (): DictionaryEncoding[] {
  const list: DictionaryEncoding[] = []
  if (nodeZstd !== undefined && works((body, dictionary) => nodeZstd!.zstdCompressSync(body, { dictionary }))) list.push(dcz)
  if (works((body, dictionary) => brotliCompressSync(body, brOptions(body, dictionary)))) list.push(dcb)
  return list
}
