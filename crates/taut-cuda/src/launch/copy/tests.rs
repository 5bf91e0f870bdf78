//! Which road copies take, and that the kernels of the new ones, as they compute places, move every element once.

use super::*;
use taut_core::Shape;
use taut_kernels::args::{SECTOR_BYTES, TILE_WIDE};

fn layout(dims: &[usize]) -> Layout {
    Layout::contiguous(Shape::new(dims).unwrap())
}

fn choose_road(layouts: &[Layout; 2], from: DType, to: DType) -> Road {
    let [src, dst] = layouts;
    road(&[Operand { address: 0, layout: src, dtype: from }, Operand { address: 0, layout: dst, dtype: to }])
}

/// `walk f16`, `tiles u64`: the road from a view to a contiguous destination, and its elements.
fn name(src: &Layout, from: DType, to: DType) -> String {
    match choose_road(&[*src, Layout::contiguous(*src.shape())], from, to) {
        Road::Walk(choice) => format!("{:?}", choice.access),
        Road::Tiles { moved, .. } => Kernel::CopyTiles(moved).expression(),
        Road::Planes { moved, form, .. } => form.kernel(moved).expression(),
        Road::Runs { moved, .. } => Kernel::CopyRuns(moved).expression(),
    }
}

#[test]
fn transposed_copies_go_in_tiles_and_others_in_packs() {
    let t = layout(&[4096, 65_536]).transposed(0, 1).unwrap();
    let (f16, f32, i64, u8) = (DType::F16, DType::F32, DType::I64, DType::U8);
    assert_eq!(name(&t, f16, f16), "copy_tiles<u16, u16>");
    assert_eq!(name(&t, DType::Bool, DType::Bool), "copy_tiles<u8, u8>");
    assert_eq!(name(&t, f32, DType::BF16), "copy_tiles<f32, bf16>");
    assert_eq!(name(&t, i64, f32), "Strided");
    // Rows of pixels to planes, and back: few planes are read side by side.
    let pixels = layout(&[2, 300, 200, 3]).permuted(&[0, 3, 1, 2]).unwrap();
    assert_eq!(name(&pixels, u8, f32), "pixels_to_planes<u8, f32, 3>");
    let small = layout(&[50, 10, 20, 3]).permuted(&[0, 3, 1, 2]).unwrap();
    assert_eq!(name(&small, u8, f32), "copy_runs<u8, f32>");
    let planes = layout(&[2, 3, 300, 200]).permuted(&[0, 2, 3, 1]).unwrap();
    assert_eq!(name(&planes, f32, f32), "planes_to_pixels<u32, u32, 3>");
    let planes = layout(&[2, 3, 333, 201]).permuted(&[0, 2, 3, 1]).unwrap();
    assert_eq!(name(&planes, f32, f32), "copy_runs<u32, u32>");
    assert_eq!(
        name(&layout(&[4, 1000]).transposed(0, 1).unwrap(), f16, f16),
        "planes_to_pixels<u16, u16, 4>"
    );
    assert_eq!(
        name(&layout(&[1003, 2]).transposed(0, 1).unwrap(), DType::Bool, DType::Bool),
        "copy_runs<u8, u8>"
    );
    assert_eq!(
        name(&layout(&[1008, 2]).transposed(0, 1).unwrap(), DType::Bool, DType::Bool),
        "pixels_to_planes<u8, u8, 2>"
    );
    let planes = layout(&[2, 64, 56, 56]).permuted(&[0, 2, 3, 1]).unwrap();
    assert_eq!(name(&planes, f16, f16), "copy_tiles<u16, u16>");
    // Small matrices, and elements that lie together in both.
    assert_eq!(name(&layout(&[1000, 16, 16]).transposed(1, 2).unwrap(), f16, f16), "copy_runs<u16, u16>");
    let heads = |dim| layout(&[128, 100, dim]).transposed(0, 1).unwrap();
    let names = [1, 2, 4, 8, 16, 6, 3].map(|dim| name(&heads(dim), f16, f16));
    let tiles = [16, 32, 64, 128].map(|bits| match bits {
        128 => "copy_tiles<u32x4, u32x4>".to_owned(),
        _ => format!("copy_tiles<u{bits}, u{bits}>"),
    });
    assert_eq!(names[..4], tiles);
    assert_eq!(names[4..], ["Rows", "copy_runs<u32, u32>", "copy_runs<u16, u16>"]);
    // Slices that begin or end between packs; columns; one element.
    let wide = layout(&[100, 4096]);
    assert_eq!(name(&wide.sliced(1, 8..4088).unwrap(), f16, f16), "Rows");
    assert_eq!(name(&wide.sliced(1, 1..4095).unwrap(), f16, f16), "copy_runs<u16, u16>");
    assert_eq!(name(&wide.sliced(1, 2..4094).unwrap(), f16, f16), "copy_runs<u32, u32>");
    assert_eq!(name(&wide.sliced(1, 5..6).unwrap(), f16, f16), "copy_runs<u16, u16>");
    assert_eq!(name(&layout(&[64]).sliced(0, 3..4).unwrap(), f16, f16), "Strided");
    let column = layout(&[100, 1]).broadcast_to(Shape::new(&[100, 7]).unwrap()).unwrap();
    assert_eq!(name(&column, f16, f16), "copy_runs<u16, u16>");
}

/// Views and destinations of many ranks and orders, at the borders of tiles and packs.
fn cases(mut state: u64, count: usize, most: usize) -> Vec<[Layout; 2]> {
    let mut below = move |n: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % n
    };
    let extents =
        [1, 2, 3, 5, 7, 8, 9, 16, 24, 31, 32, 33, 63, 64, 65, 127, 128, 129, 255, 256, 257, 1024, 1025];
    let mut out = Vec::new();
    while out.len() < count {
        let rank = 1 + below(5);
        let mut shape: Vec<usize> = (0..rank).map(|_| extents[below(extents.len())]).collect();
        // Every other one has two long axes, so that there are tiles.
        if rank > 1 && below(2) == 0 {
            shape.iter_mut().for_each(|dim| *dim = 1 + *dim % 3);
            let (a, b) = (below(rank), below(rank - 1));
            shape[a] = 16 + 8 * below(60) + below(3) % 2;
            shape[(a + 1 + b) % rank] = [64, 128, 130, 256, 264, 300, 513][below(7)];
        }
        while shape.iter().product::<usize>() > most {
            let largest = (0..rank).max_by_key(|&axis| shape[axis]).unwrap();
            shape[largest] /= 2;
        }
        let mut src = view(&shape, false, &mut below);
        let plain = below(2) == 0;
        let dst = view(&shape, plain, &mut below);
        if below(6) == 0 {
            let axis = below(rank);
            src = src.sliced(axis, 0..1).unwrap().broadcast_to(*dst.shape()).unwrap();
        }
        out.push([src, dst]);
    }
    out
}

/// Images of few colours, as planes and as pixels, parts of larger tensors or not.
fn images(mut state: u64, count: usize) -> Vec<[Layout; 2]> {
    let mut below = move |n: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % n
    };
    let case = |_| {
        let (images, colours) = (1 + below(3), 2 + below(3));
        let pixels = [1000, 1024, 2048, 2056, 4096, 5003, 6000][below(7)];
        let planes = view(&[images, colours, pixels], true, &mut below).transposed(1, 2).unwrap();
        let pixels = view(&[images, pixels, colours], true, &mut below);
        if below(2) == 0 { [planes, pixels] } else { [pixels, planes].map(|x| x.transposed(1, 2).unwrap()) }
    };
    (0..count).map(case).collect()
}

/// A part of a larger tensor, permuted unless it is to be plain, somewhere in its storage.
fn view(shape: &[usize], plain: bool, below: &mut dyn FnMut(usize) -> usize) -> Layout {
    let rank = shape.len();
    let mut order: Vec<usize> = (0..rank).collect();
    if !plain {
        (0..rank).for_each(|axis| order.swap(axis, axis + below(rank - axis)));
    }
    let margins: Vec<[usize; 2]> = (0..rank)
        .map(|_| if below(4) == 0 { [[0, 8][below(2)], [8, 1, 2][below(3)]] } else { [0, 0] })
        .collect();
    let dims: Vec<usize> =
        order.iter().map(|&axis| shape[axis] + margins[axis][0] + margins[axis][1]).collect();
    let start = [0, 0, 8, 16, 1, 4, 2][below(7)];
    let flat = layout(&[start + dims.iter().product::<usize>()])
        .sliced(0, start..start + dims.iter().product::<usize>());
    let whole = flat.unwrap().reshaped(Shape::new(&dims).unwrap()).unwrap().unwrap();
    let back: Vec<usize> = (0..rank).map(|axis| order.iter().position(|&o| o == axis).unwrap()).collect();
    (0..rank).fold(whole.permuted(&back).unwrap(), |view, axis| {
        view.sliced(axis, margins[axis][0]..margins[axis][0] + shape[axis]).unwrap()
    })
}

/// Where the operands of a walk are, as kernels compute it.
fn places<const N: usize>(walk: &Walk<N>, mut unit: u64) -> [u64; N] {
    let mut out = [0u64; N];
    for axis in 0..walk.rank as usize {
        let (dim, last) = (walk.dim[axis], axis + 1 == walk.rank as usize);
        let quotient = (((unit * walk.magic[axis]) >> 32) + unit) >> walk.shift[axis];
        assert_eq!(quotient, unit / dim);
        let step = if last { unit } else { unit - quotient * dim };
        for (at, stride) in out.iter_mut().zip(&walk.stride) {
            *at = at.wrapping_add(step.wrapping_mul(stride[axis]));
        }
        unit = quotient;
    }
    out
}

/// What `copy_tiles` does, for a destination that begins at `start`: the element of the source that each written element
/// of it comes from.
fn run_tiles(tiles: &Tiles, bytes: [usize; 2], start: u64, mut write: impl FnMut(u64, u64)) {
    let [in_len, out_len] = bytes.map(|bytes| Tiles::pack_len(bytes) as u64);
    let threads = u64::from(THREADS);
    let (across, down) = (u64::from(tiles.across), 8 - u64::from(tiles.across));
    let banks = 128 / (out_len * bytes[1] as u64);
    let shift = banks.ilog2().saturating_sub(tiles.across);
    let mask = (in_len << down).min(banks) - 1;
    let pack = |column: u64, pack: u64| ((column << down) + pack) ^ (((column / in_len) << shift) & mask);
    let element = |column, row| (pack(column, row / out_len) * out_len + row % out_len) as usize;
    let divide = |i: u64, magic: u32| (i * u64::from(magic)) >> 32;
    for block in 0..tiles.walk.numel {
        let [from, to, column, row] = places(&tiles.walk, block);
        let (width, height) = (in_len << across, out_len << down);
        let (columns, rows) = ((tiles.columns - column).min(width), (tiles.rows - row).min(height));
        let mut tile = vec![None; (threads * in_len * out_len) as usize];
        let mut put = |column: u64, row: u64| {
            let place = &mut tile[element(column, row)];
            assert_eq!(place.replace(from + row * tiles.in_row + column), None, "two elements in one place");
        };
        if in_len <= 2 || tiles.columns >= in_len {
            for thread in 0..threads {
                let (column, row) = ((thread & ((1 << across) - 1)) * in_len, (thread >> across) * out_len);
                for (c, r) in (0..in_len).flat_map(|c| (0..out_len).map(move |r| (c, r))) {
                    assert!(tiles.in_packs == 0 || column >= columns || column + c < columns, "half a pack");
                    if column + c < columns && row + r < rows {
                        put(column + c, row + r);
                    }
                }
            }
        } else {
            for i in 0..columns * rows {
                let row = divide(i, tiles.in_magic);
                assert_eq!(row, i / columns);
                put(i - row * columns, row);
            }
        }
        let mut take = |column: u64, row: u64| {
            let from = tile[element(column, row)].expect("an element that was put");
            write(to + column * tiles.out_column + row, from);
        };
        if tiles.out_packs == 1 {
            for i in 0..threads * in_len {
                let (column, pack) = (i >> down, i & ((1 << down) - 1));
                if column < columns && pack * out_len < rows {
                    (0..out_len).for_each(|r| take(column, pack * out_len + r));
                }
            }
        } else {
            let (is_first, is_last) = (row == 0, tiles.rows - row <= height);
            let is_wide = tiles.across >= TILE_WIDE;
            let is_single = is_first && is_last;
            let unit = if is_wide && !is_single { (SECTOR_BYTES / bytes[1]) as u64 } else { out_len };
            for column in 0..columns {
                let skew = (start + to + column * tiles.out_column) % unit;
                let head = (unit - skew) % unit;
                for first in (0..1 << down).map(|pack| pack * out_len + head) {
                    let is_whole = if is_last {
                        first + out_len <= rows
                    } else if is_wide {
                        first - head + unit < height
                    } else {
                        first + out_len < height
                    };
                    if is_whole {
                        (0..out_len).for_each(|r| take(column, first + r));
                    }
                }
                let head = head.min(rows);
                let tail = (rows - head) % out_len;
                (0..head).filter(|_| is_first).for_each(|r| take(column, r));
                (rows - tail..rows).filter(|_| is_last).for_each(|r| take(column, r));
            }
        }
    }
}

/// What `copy_runs` does, for a destination that begins at `start`.
fn run_runs(runs: &Runs, len: u64, start: u64, mut write: impl FnMut(u64, u64)) {
    for unit in 0..u64::from(runs.units) {
        let run = (((unit * u64::from(runs.magic)) >> 32) + unit) >> runs.shift;
        assert_eq!(run, unit / u64::from(runs.packs));
        let first = if runs.is_one == 1 { 0 } else { run * u64::from(runs.len) };
        let to = if runs.is_one == 1 { 0 } else { places(&runs.walk, first)[1] };
        let skew = (start + to) % len;
        let pack = (unit - run * u64::from(runs.packs)) * len;
        for i in pack.max(skew)..(pack + len).min(skew + u64::from(runs.len)) {
            write(to + i - skew, places(&runs.walk, first + i - skew)[0]);
        }
    }
}

/// What `copy_planes` does.
fn run_planes(form: &Form, len: u64, mut write: impl FnMut(u64, u64)) {
    let threads = u64::from(THREADS);
    let [n, between, plane_step, pixel_step, pixels] =
        [form.planes, form.between, form.plane_step, form.pixel_step, form.len].map(|x| x as u64);
    let slot = |i: u64| if n % 2 == 1 { i } else { i + i / 8 };
    let tiles = pixels.div_ceil(threads * len);
    for block in 0..form.images as u64 * tiles {
        let (image, begin) = (block / tiles, block % tiles * (threads * len));
        let plane = |colour: u64, i: u64| image * plane_step + colour * between + i;
        let pixel = |i: u64| image * pixel_step + i;
        let mut pair = |plane, pixel| match form.to_pixels {
            true => write(pixel, plane),
            false => write(plane, pixel),
        };
        // Packs of pixels, by the thread that has them and by their place in memory.
        let mut strip = vec![None; slot(threads * n) as usize];
        for thread in 0..threads {
            let first = begin + thread * len;
            if first + len <= pixels {
                (0..n).for_each(|q| {
                    assert_eq!(strip[slot(thread * n + q) as usize].replace((first, q)), None);
                });
            } else {
                (first..pixels).for_each(|i| (0..n).for_each(|c| pair(plane(c, i), pixel(i * n + c))));
            }
        }
        for i in 0..threads * n {
            let pack = begin / len * n + i;
            if pack < pixels / len * n {
                let (first, q) = strip[slot(i) as usize].expect("a pack that was put");
                for l in 0..len {
                    let at = q * len + l;
                    pair(plane(at % n, first + at / n), pixel(pack * len + l));
                }
            }
        }
    }
}

#[test]
fn every_element_is_moved_once() {
    let mut roads = [0; 4];
    for (number, layouts) in cases(1, 600, 40_000).into_iter().chain(images(2, 400)).enumerate() {
        let layouts = &layouts;
        let pairs = [
            (DType::U8, DType::U8),
            (DType::F16, DType::F16),
            (DType::F32, DType::F32),
            (DType::I64, DType::I64),
            (DType::F32, DType::F16),
            (DType::BF16, DType::F32),
            (DType::U8, DType::F32),
        ];
        let (from, to) = pairs[number % pairs.len()];
        let road = choose_road(layouts, from, to);
        let (moved, wide) = match &road {
            Road::Walk(_) => {
                roads[0] += 1;
                continue;
            }
            Road::Tiles { moved, layouts, .. }
            | Road::Planes { moved, layouts, .. }
            | Road::Runs { moved, layouts } => (*moved, *layouts),
        };
        let (src_start, dst_start) = (wide[0].offset() as u64, wide[1].offset() as u64);
        let mut got = vec![None; wide[1].end()];
        let mut write = |to: u64, from: u64| {
            let place = &mut got[(dst_start + to) as usize];
            assert_eq!(place.replace((src_start + from) as usize), None, "{road:?} writes twice");
        };
        match &road {
            Road::Tiles { column, .. } => {
                roads[1] += 1;
                let tiles = Tiles::new(&wide, *column, moved.bytes());
                run_tiles(&tiles, moved.bytes(), dst_start, &mut write);
            }
            Road::Planes { form, .. } => {
                roads[3] += 1;
                run_planes(form, planes::len(moved) as u64, &mut write);
            }
            _ => {
                roads[2] += 1;
                let runs = runs(Walk::new(&wide, 1), &wide[1], moved);
                run_runs(&runs, run_len(moved) as u64, dst_start, &mut write);
            }
        }
        // In elements of the operands, in whatever order the road has them.
        let unit = moved.bytes()[1] / to.size();
        let mut want = vec![None; layouts[1].end().div_ceil(unit) * unit];
        layouts[1].positions().zip(layouts[0].positions()).for_each(|(to, from)| want[to] = Some(from));
        for (i, want) in want.into_iter().enumerate() {
            let got = got.get(i / unit).copied().flatten().map(|from| from * unit + i % unit);
            assert_eq!(got, want, "{from} to {to}, element {i} of {road:?}");
        }
    }
    assert!(roads.iter().all(|&count| count > 50), "{roads:?}");
}
