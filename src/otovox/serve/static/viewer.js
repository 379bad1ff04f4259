// One area of a scan: three planes and 3D, with mask, uncertainty, landmarks and centrelines.
// NiiVue draws; landmarks and lines lie in an SVG above it, so that they can be dragged and focused.
import { make } from "./common.js";

// The page loads vendor/niivue.umd.js first, a classic script.
const { MULTIPLANAR_TYPE, Niivue, SHOW_RENDER, SLICE_TYPE } = window.niivue;

const SVG = "http://www.w3.org/2000/svg";
const NEAR_MM = 0.6; // landmarks this near to a plane lie in it
const FAR_MM = 6; // those beyond are not drawn there
const STEP_MM = 0.1; // of an arrow key on a landmark
// Centre and width, HU. Chosen: usual settings of temporal bone, bone and soft tissue.
export const WINDOWS = [
  ["Temporal bone", 700, 4000], ["Bone", 500, 2000], ["Soft tissue", 40, 400], ["The scan's own", null, null],
];
// Overlays; the uncertainty is a standard deviation, at most 0.5. Opacities and limits are chosen.
const LAYERS = {
  parts: { colormap: "gray", opacity: 0.6 },
  uncertainty: { colormap: "inferno", opacity: 0.7, cal_min: 0.02, cal_max: 0.2 },
};
const PENS = { right: 1, left: 2 };
const flip = (point) => [-point[0], -point[1], point[2]]; // LPS to RAS and back

const svg = (name, attributes) => {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
};
const css = (rgb) => `rgb(${rgb.join(",")})`;

export class EarView {
  // `meta` is the server's description of the version; `onChange` is called after an edit.
  constructor(base, area, meta, onChange) {
    Object.assign(this, { base, area, meta, onChange, maskChanged: false, pen: "none" });
    const sides = area === "whole" ? Object.keys(meta.landmarks) : [area];
    this.marks = sides.flatMap((side) => Object.entries(meta.landmarks[side])
      .map(([name, mm]) => ({ side, name, mm: mm && flip(mm), moved: false })));
    this.lines = meta.lines.filter((line) => sides.some((side) => line.name.startsWith(`${side}/`)));
    this.canvas = make("canvas", { tabIndex: 0 });
    const title = area === "whole" ? "Whole scan" : `${area[0].toUpperCase()}${area.slice(1)} ear`;
    this.canvas.setAttribute("role", "img");
    this.canvas.setAttribute("aria-label", `${title}: axial, coronal and sagittal plane, and 3D`);
    this.overlay = svg("svg", { role: "group", "aria-label": `Landmarks, ${title}` });
    this.place = make("div", { className: "place" });
    this.busy = make("div", { className: "busy", textContent: "Loading …" });
    this.element = make("div", { className: "view", dataset: { area } }, this.canvas, this.overlay,
      make("div", { className: "name", textContent: title }), this.place, this.busy);
    this.layers = {};
    this.showMarks = true;
    this.showLines = false;
  }

  async load() {
    this.nv = new Niivue({
      isRadiologicalConvention: true, isColorbar: false, show3Dcrosshair: false, crosshairWidth: 0.15, crosshairWidthUnit: "mm",
      crosshairColor: [0.35, 0.75, 1, 0.55], backColor: [0, 0, 0, 1], logLevel: "error",
      multiplanarShowRender: SHOW_RENDER.ALWAYS, dragAndDropEnabled: false, penSize: 3,
      isResizeCanvas: true, fontMinPx: 11, loadingText: "", isHighResolutionCapable: true,
      clickToSegment: false, meshXRay: 1, isFilledPen: false,
    });
    await this.nv.attachToCanvas(this.canvas);
    this.nv.setSliceType(SLICE_TYPE.MULTIPLANAR);
    this.nv.setMultiplanarLayout(MULTIPLANAR_TYPE.GRID);
    await this.nv.loadVolumes([{ url: `${this.base}/view/${this.area}/scan.nii`, colormap: "gray" }]);
    this.own = [this.nv.volumes[0].cal_min, this.nv.volumes[0].cal_max];
    await this.nv.loadDrawingFromUrl(`${this.base}/view/${this.area}/mask.nii`);
    this.nv.setDrawColormap(this.colours());
    this.nv.setDrawingEnabled(false);
    this.nv.drawOpacity = 0.35;
    await this.loadSurfaces();
    // Bone would hide the labyrinth: only the surfaces are shown in 3D.
    this.nv.setClipPlane([-2, 0, 0]);
    this.nv.onDrawingChanged = (action) => { if (action !== "load") this.edited(); };
    this.nv.onLocationChange = (place) => this.located(place);
    const draw = this.nv.drawScene.bind(this.nv);
    this.nv.drawScene = (...given) => { const done = draw(...given); this.redraw(); return done; };
    this.nv.scene.volScaleMultiplier = this.area === "whole" ? 1 : 1.7;
    this.center();
    this.setWindow(0);
    new ResizeObserver(() => this.redraw()).observe(this.element);
    this.busy.remove();
    this.redraw();
  }

  colours() {
    const { right, left } = this.meta.colours;
    return {
      R: [0, right[0], left[0]], G: [0, right[1], left[1]], B: [0, right[2], left[2]],
      A: [0, 255, 255], I: [0, 1, 2], labels: ["", "right labyrinth", "left labyrinth"],
    };
  }

  async loadSurfaces() {
    const sides = this.meta.surfaces.filter((side) => this.area === "whole" || side === this.area);
    await this.nv.loadMeshes(sides.map((side) => ({
      url: `${this.base}/view/${side}/surface.stl`, rgba255: [...this.meta.colours[side], 255],
    })));
    this.nv.setMeshThicknessOn2D?.(0);
  }

  center() {
    const place = this.meta.centers[this.area] || Object.values(this.meta.centers)[0];
    if (place) this.goTo(flip(place));
  }

  goTo(mm) {
    this.nv.scene.crosshairPos = this.nv.mm2frac(mm);
    this.nv.createOnLocationChange();
    this.nv.drawScene();
  }

  step(x, y, z) { this.nv.moveCrosshairInVox(x, y, z); }

  setWindow(index) {
    const [, middle, width] = WINDOWS[index];
    const volume = this.nv.volumes[0];
    [volume.cal_min, volume.cal_max] = middle === null ? this.own : [middle - width / 2, middle + width / 2];
    this.nv.updateGLVolume();
  }

  setOpacity(value) { this.nv.drawOpacity = value; this.nv.drawScene(); }

  async setLayer(kind, shown) {
    if (shown && !this.layers[kind]) {
      const layer = await this.nv.addVolumeFromUrl({ url: `${this.base}/view/${this.area}/${kind}.nii`, ...LAYERS[kind] });
      if (kind === "parts") layer.setColormapLabel(this.partColours());
      this.layers[kind] = layer;
      this.nv.updateGLVolume();
    }
    const index = this.nv.volumes.indexOf(this.layers[kind]);
    if (index > 0) this.nv.setOpacity(index, shown ? LAYERS[kind].opacity : 0);
  }

  partColours() {
    const rows = this.meta.parts.flatMap(({ title, colour, values }) => values.map((value) => ({ title, colour, value })));
    const channel = (index) => [0, ...rows.map((row) => row.colour[index])];
    return {
      R: channel(0), G: channel(1), B: channel(2), A: [0, ...rows.map(() => 255)],
      I: [0, ...rows.map((row) => row.value)], labels: ["", ...rows.map((row) => row.title)],
    };
  }

  get editable() { return this.area !== "whole" || this.meta.whole_editable; }

  setPen(wanted, size) {
    const pen = this.editable ? wanted : "none";
    this.pen = pen;
    this.nv.opts.penSize = size;
    this.nv.setDrawingEnabled(pen !== "none");
    if (pen === "erase") this.nv.setPenValue(0, false);
    if (pen === "paint") this.nv.setPenValue(PENS[this.sideHere()], false);
    this.element.dataset.pen = pen;
    this.redraw();
  }

  // The side that is painted: the area's, or in the whole scan that of the nearer ear.
  sideHere() {
    if (this.area !== "whole") return this.area;
    const here = this.nv.frac2mm(this.nv.scene.crosshairPos);
    const away = (side) => Math.hypot(...flip(this.meta.centers[side]).map((v, i) => v - here[i]));
    return Object.keys(this.meta.centers).sort((a, b) => away(a) - away(b))[0] || (here[0] > 0 ? "right" : "left");
  }

  undo() { this.nv.drawUndo(); this.nv.drawScene(); }

  edited() { this.maskChanged = true; this.onChange(); }

  get changed() { return this.maskChanged || this.marks.some((mark) => mark.moved); }

  landmarks() {
    const found = {};
    for (const { side, name, mm } of this.marks) (found[side] ??= {})[name] = mm && flip(mm);
    return found;
  }

  async mask() {
    const bytes = await this.nv.saveImage({ filename: "", isSaveDrawing: true });
    const packed = new Response(new Blob([bytes]).stream().pipeThrough(new CompressionStream("gzip")));
    return packed.blob();
  }

  located(place) {
    if (this.pen === "paint" && this.area === "whole") this.nv.setPenValue(PENS[this.sideHere()], false);
    const [x, y, z] = flip(place.mm);
    const hu = place.values?.[0]?.value;
    this.place.textContent = `LPS ${x.toFixed(1)}, ${y.toFixed(1)}, ${z.toFixed(1)} mm${hu === undefined ? "" : ` · ${Math.round(hu)}`}`;
  }

  // Planes on the canvas: from pixels of the page to mm, by three probes each.
  tiles() {
    const ratio = this.canvas.width / this.canvas.clientWidth || 1;
    const found = [];
    this.nv.screenSlices.forEach((slice, index) => {
      if (slice.axCorSag > SLICE_TYPE.SAGITTAL) return;
      const [left, top, wide, high] = slice.leftTopWidthHeight;
      const box = [Math.min(left, left + wide), top, Math.abs(wide), high];
      const mm = (x, y) => [...this.nv.frac2mm(this.nv.screenXY2TextureFrac(x, y, index, false))].slice(0, 3);
      const start = mm(box[0], box[1]);
      const right = mm(box[0] + box[2], box[1]).map((v, i) => (v - start[i]) / box[2]);
      const down = mm(box[0], box[1] + box[3]).map((v, i) => (v - start[i]) / box[3]);
      if (![...start, ...right, ...down].every(Number.isFinite)) return;
      found.push({ index, ratio, box, start, right, down });
    });
    return found;
  }

  redraw() {
    if (!this.nv?.volumes.length) return;
    const focused = this.overlay.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    this.overlay.replaceChildren();
    const drawing = this.pen !== "none";
    for (const tile of this.tiles()) {
      if (this.showLines) for (const line of this.lines) this.drawLine(tile, line);
      if (this.showMarks) for (const mark of this.marks) if (mark.mm) this.drawMark(tile, mark, drawing);
    }
    if (focused) this.overlay.querySelector(`[data-key="${focused}"]`)?.focus({ preventScroll: true });
  }

  drawMark(tile, mark, drawing) {
    const [x, y, off] = project(tile, mark.mm);
    if (Math.abs(off) > FAR_MM || !within(tile, x, y)) return;
    const near = Math.abs(off) <= NEAR_MM;
    const title = this.meta.titles[mark.name] || mark.name;
    const key = `${tile.index}/${mark.side}/${mark.name}`;
    const group = svg("g", {
      class: near ? "mark" : "mark far", transform: `translate(${x / tile.ratio} ${y / tile.ratio})`,
      tabindex: near && !drawing ? 0 : -1, role: "button", "data-key": key, "data-name": mark.name,
      "aria-label": `${mark.side} ${title}; arrow keys move it`,
    });
    const colour = css(this.meta.colours[mark.name]);
    group.append(svg("circle", { r: 11, fill: "transparent" }));
    group.append(svg("circle", { r: 5, fill: near ? colour : "none", stroke: near ? "#fff" : colour, "stroke-width": 1.5 }));
    if (near) {
      const text = svg("text", { x: 9, y: 4 });
      text.textContent = title;
      group.append(text);
    }
    if (drawing) group.style.pointerEvents = "none";
    group.addEventListener("pointerdown", (event) => this.drag(event, tile, mark));
    group.addEventListener("keydown", (event) => this.nudge(event, tile, mark));
    group.addEventListener("focus", () => { if (!this.dragging) this.focusOn(mark); });
    this.overlay.append(group);
  }

  focusOn(mark) {
    const here = this.nv.frac2mm(this.nv.scene.crosshairPos);
    if (Math.hypot(...mark.mm.map((v, i) => v - here[i])) > 0.3) this.goTo(mark.mm);
  }

  drag(event, tile, mark) {
    event.preventDefault();
    event.stopPropagation();
    this.dragging = true;
    const box = this.canvas.getBoundingClientRect();
    const off = project(tile, mark.mm)[2];
    let moved = false;
    const move = (now) => {
      const x = (now.clientX - box.left) * tile.ratio;
      const y = (now.clientY - box.top) * tile.ratio;
      if (!moved && Math.hypot(now.clientX - event.clientX, now.clientY - event.clientY) < 2) return;
      moved = true;
      this.moveMark(mark, lift(tile, x, y, off));
    };
    const end = () => {
      window.removeEventListener("pointermove", move);
      window.removeEventListener("pointerup", end);
      window.removeEventListener("pointercancel", end);
      this.dragging = false;
      this.goTo(mark.mm);
    };
    window.addEventListener("pointermove", move);
    window.addEventListener("pointerup", end);
    window.addEventListener("pointercancel", end);
  }

  nudge(event, tile, mark) {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!step) return;
    event.preventDefault();
    event.stopPropagation();
    const along = (axis, sign) => axis.map((v) => (v / Math.hypot(...axis)) * sign * STEP_MM);
    const shift = step[0] ? along(tile.right, step[0]) : along(tile.down, step[1]);
    this.moveMark(mark, mark.mm.map((v, i) => v + shift[i]));
  }

  moveMark(mark, mm) {
    mark.mm = mm;
    mark.moved = true;
    this.onChange();
    this.redraw();
  }

  drawLine(tile, line) {
    let path = "";
    let inside = false;
    for (const point of line.points) {
      const [x, y, off] = project(tile, flip(point));
      const near = Math.abs(off) < NEAR_MM && within(tile, x, y);
      if (near) path += `${inside ? "L" : "M"}${(x / tile.ratio).toFixed(1)} ${(y / tile.ratio).toFixed(1)}`;
      inside = near;
    }
    if (path) this.overlay.append(svg("path", { d: path, fill: "none", stroke: css(line.colour), "stroke-width": 2 }));
  }

  destroy() {
    this.element.remove();
    const lose = this.nv?.gl?.getExtension("WEBGL_lose_context");
    this.nv?.cleanup?.();
    lose?.loseContext();
  }
}

// Canvas pixels of a place, and how far it lies off the plane, mm.
function project(tile, mm) {
  const { start, right, down, box } = tile;
  const gap = mm.map((v, i) => v - start[i]);
  const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
  const x = dot(gap, right) / dot(right, right);
  const y = dot(gap, down) / dot(down, down);
  const rest = gap.map((v, i) => v - x * right[i] - y * down[i]);
  const normal = [right[1] * down[2] - right[2] * down[1], right[2] * down[0] - right[0] * down[2], right[0] * down[1] - right[1] * down[0]];
  return [box[0] + x, box[1] + y, dot(rest, normal) / Math.hypot(...normal)];
}

// The reverse: the place of a canvas pixel, so far off the plane.
function lift(tile, x, y, off) {
  const { start, right, down, box } = tile;
  const normal = [right[1] * down[2] - right[2] * down[1], right[2] * down[0] - right[0] * down[2], right[0] * down[1] - right[1] * down[0]];
  const length = Math.hypot(...normal);
  return start.map((v, i) => v + (x - box[0]) * right[i] + (y - box[1]) * down[i] + (off * normal[i]) / length);
}

function within(tile, x, y) {
  const [left, top, wide, high] = tile.box;
  return x >= left && x <= left + wide && y >= top && y <= top + high;
}
