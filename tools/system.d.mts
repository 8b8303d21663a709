export const packages: Readonly<Record<string, { readonly package: string; readonly for: string }>>
export function find (command: string): string | undefined
export function skipWithout (...commands: string[]): false | string
export function installSystem (): void
