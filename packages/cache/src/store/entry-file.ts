import { createHash } from 'node:crypto'
import { open } from 'node:fs/promises'
import type { Entry } from '../entry.ts'

/**
 * A file of the disk store: a preamble (magic, length of the head's room, length of the head, CRC-32 of the body, length of the body, checksum of the
 * head), the head as JSON in its room, and the body. The room is larger than the head, so that a head that changes can be written in place.
 */
const MAGIC = 0x48_47_43_32
export const PREAMBLE = 32
const SLACK = 512

/** Longest head that is read; longer ones are not written. */
export const MAX_HEAD: number = 256 * 1024

const checksum = (head: Buffer): Buffer => createHash('sha256').update(head).digest().subarray(0, 8)

/** What JSON cannot say is put back by {@link revived}; what is made from the rest, or is no plain data, stays away. */
export function formatHead (entry: Entry): Buffer {
  return Buffer.from(JSON.stringify({ ...entry, body: undefined, head: undefined, hitAt: undefined, encoded: undefined }))
}

export function roomFor (head: Buffer): number {
  return head.length + SLACK
}

/** What is known of a file beside its entry. */
export interface Shape {
  /** Bytes for the head. */
  readonly room: number
  /** CRC-32 of the body. */
  readonly sum: number
}

/** The preamble and the head, to be written at the start of a file. `undefined`: the head does not fit into its room. */
export function formatStart (head: Buffer, { room, sum }: Shape, size: number): Buffer | undefined {
  if (head.length > room || room > MAX_HEAD) return undefined
  const start = Buffer.alloc(PREAMBLE + room, 32)
  start.writeUInt32BE(MAGIC, 0)
  start.writeUInt32BE(room, 4)
  start.writeUInt32BE(head.length, 8)
  start.writeUInt32BE(sum, 12)
  start.writeBigUInt64BE(BigInt(size), 16)
  checksum(head).copy(start, 24)
  head.copy(start, PREAMBLE)
  return start
}

/** What a preamble says; `undefined` when it is none. */
export function shapeOf (preamble: Buffer): Shape | undefined {
  if (preamble.length < PREAMBLE || preamble.readUInt32BE(0) !== MAGIC) return undefined
  const room = preamble.readUInt32BE(4)
  return room <= MAX_HEAD && preamble.readUInt32BE(8) <= room ? { room, sum: preamble.readUInt32BE(12) } : undefined
}

/** The entry in the first bytes of a file that is `length` bytes long; `undefined` when anything does not fit. */
export function parseStart (start: Buffer, length: number): Entry | undefined {
  const room = shapeOf(start)?.room
  if (room === undefined || start.length < PREAMBLE + room) return undefined
  const head = start.subarray(PREAMBLE, PREAMBLE + start.readUInt32BE(8))
  const size = Number(start.readBigUInt64BE(16))
  if (length !== PREAMBLE + room + size || !checksum(head).equals(start.subarray(24, 32))) return undefined
  try {
    return { ...revived(JSON.parse(head.toString()) as Entry), size }
  } catch {
    return undefined
  }
}

/** Reads the start of a file; `undefined` when it is damaged. Rejects when there is none. */
export async function readStart (path: string): Promise<{ readonly entry: Entry; readonly shape: Shape } | undefined> {
  const file = await open(path, 'r')
  try {
    const { size } = await file.stat()
    const preamble = Buffer.alloc(PREAMBLE)
    await file.read(preamble, 0, PREAMBLE, 0)
    const shape = shapeOf(preamble)
    if (shape === undefined) return undefined
    const start = Buffer.alloc(PREAMBLE + shape.room)
    await file.read(start, 0, start.length, 0)
    const entry = parseStart(start, size)
    return entry && { entry, shape }
  } finally {
    await file.close()
  }
}

/** An entry that was JSON, with what JSON cannot say. Throws for what is none. */
export function revived (entry: Entry): Entry {
  return {
    ...entry,
    lastModified: entry.lastModified ?? Number.NaN,
    varyValues: entry.varyValues.map((value) => value ?? undefined),
    language: entry.language ?? undefined,
    etag: entry.etag ?? undefined,
    part: entry.part ?? undefined,
    body: undefined,
    head: undefined,
    hitAt: undefined
  }
}
