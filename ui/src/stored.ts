/** What this browser remembers for the page. Storage may be forbidden: the page works without, and remembers nothing. */

export function readStored(key: string): string | null {
  try {
    return localStorage.getItem(key)
  } catch {
    return null
  }
}

export function store(key: string, value: string): void {
  try {
    localStorage.setItem(key, value)
  } catch {
    // it holds until the page is left
  }
}
