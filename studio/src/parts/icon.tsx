/** @file The studio's icons: strokes on a grid of 24, drawn in the colour of the text beside them, which names what they mean. */
const PATHS = {
  brush: "M4 20c3 0 5-1 5-4a2.5 2.5 0 0 0-5 0c0 2 0 3-1 4zM9 15 19 4l1 1-10 11",
  queue: "M4 6h16M4 12h16M4 18h10",
  gallery: "M4 4h7v7H4zM13 4h7v7h-7zM4 13h7v7H4zM13 13h7v7h-7z",
  grid: "M4 4h16v16H4zM4 9.3h16M4 14.6h16M9.3 4v16M14.6 4v16",
  memory: "M6 6h12v12H6zM9 3v3M15 3v3M9 18v3M15 18v3M3 9h3M3 15h3M18 9h3M18 15h3",
  models: "M12 3 4 7v10l8 4 8-4V7zM4 7l8 4 8-4M12 11v10",
  settings: "M4 7h9M19 7h1M4 17h1M11 17h9M16 4.500v5M8 14.500v5",
  command: "M7 4l-1 16M15 4l-1 16M4 9h16M3.500 15h16",
  close: "M6 6l12 12M18 6 6 18",
  check: "M5 13l4 4L19 7",
  up: "M12 19V5M6 11l6-6 6 6",
  down: "M12 5v14M6 13l6 6 6-6",
  first: "M12 20V9M6 14l6-6 6 6M5 4h14",
  retry: "M5 12a7 7 0 1 0 2-5M7 3v4h4",
  dice: "M5 5h14v14H5zM9 9h.01M15 9h.01M12 12h.01M9 15h.01M15 15h.01",
  download: "M12 4v11M7 11l5 5 5-5M5 20h14",
  link: "M10 14a4 4 0 0 0 6 0l3-3a4 4 0 0 0-6-6l-1 1M14 10a4 4 0 0 0-6 0l-3 3a4 4 0 0 0 6 6l1-1",
  star: "M12 4l2.500 5.200 5.500.700-4 4 1 5.600-5-2.700-5 2.700 1-5.600-4-4 5.500-.700z",
  trash: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13",
  search: "M11 5a6 6 0 1 0 0 12 6 6 0 0 0 0-12zM15.500 15.500 20 20",
  picture: "M4 5h16v14H4zM4 16l5-5 4 4 3-3 4 4M15 9h.01",
  history: "M12 7v5l3 2M4.500 9A8 8 0 1 1 4 12M4 5v4h4",
  copy: "M8 8h11v12H8zM5 16V4h11",
  undo: "M8 6 4 10l4 4M4 10h9a6 6 0 0 1 0 12h-2",
  redo: "M16 6l4 4-4 4M20 10h-9a6 6 0 0 0 0 12h2",
  zoom: "M11 5a6 6 0 1 0 0 12 6 6 0 0 0 0-12zM15.500 15.500 20 20M8 11h6M11 8v6",
  drag: "M9 6h.01M15 6h.01M9 12h.01M15 12h.01M9 18h.01M15 18h.01",
  chevron: "M9 6l6 6-6 6",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name }: { readonly name: IconName }) {
  return (
    <svg class="icon" viewBox="0 0 24 24" aria-hidden="true">
      <path d={PATHS[name]} />
    </svg>
  );
}
