// Where and how much one query and head samples: given as such, or as a network projects it.
#pragma once

#include "sampling.h"

namespace hyperseg {

// What is fixed for one layer of a network.
struct Layer {
  int heads, channels, points;  // channels per head
  Levels levels;

  HYPERSEG_INLINE int samples() const { return levels.count * points; }
};

// Samples whose locations and weights are given: locations (L, P, 2) in units of the level's size, weights (L, P).
struct GivenSamples {
  const float* locations;
  const float* weights;

  HYPERSEG_INLINE float weight(int sample) const { return weights[sample]; }
  HYPERSEG_INLINE float scale(float) const { return 1.0f; }
  HYPERSEG_INLINE Neighbours x(int, int sample, int width) const {
    return neighbours(locations[2 * sample], width, 0.0f);
  }
  HYPERSEG_INLINE Neighbours y(int, int sample, int height) const {
    return neighbours(locations[2 * sample + 1], height, 0.0f);
  }
};

// Samples as a network projects them (Deformable DETR, arXiv 2010.04159, section 4.1 and appendix A.4): weights are
// the softmax of logits (L, P); offsets (L, P, 2) are in pixels of the level when the reference (L, 2) is a point
// x, y, and in half box sizes over P when it is a box x, y, width, height. Softmax needs no second pass and no
// storage: weights are its terms, which are summed while they are used, and the sum divides the result.
template <class T, int kReferenceSize>
struct ProjectedSamples {
  const T* offsets;
  const T* logits;
  const float* references;
  int reference_stride;  // between levels; 0 when all levels share one
  float points;
  float highest;

  HYPERSEG_INLINE ProjectedSamples(const Layer& layer, const T* offsets, const T* logits, const float* references,
                                   int reference_stride)
      : offsets(offsets),
        logits(logits),
        references(references),
        reference_stride(reference_stride),
        points(static_cast<float>(layer.points)),
        highest(to_float(logits[0])) {
    for (int sample = 1; sample < layer.samples(); ++sample) highest = fmaxf(highest, to_float(logits[sample]));
  }

  HYPERSEG_INLINE float weight(int sample) const { return expf(to_float(logits[sample]) - highest); }
  HYPERSEG_INLINE float scale(float sum) const { return 1.0f / sum; }
  HYPERSEG_INLINE Neighbours x(int level, int sample, int width) const { return along(level, 0, sample, width); }
  HYPERSEG_INLINE Neighbours y(int level, int sample, int height) const { return along(level, 1, sample, height); }

 private:
  HYPERSEG_INLINE Neighbours along(int level, int axis, int sample, int size) const {
    const float* reference = references + level * reference_stride;
    float shift_px = to_float(offsets[2 * sample + axis]);
    if (kReferenceSize == 4) shift_px *= 0.5f / points * reference[2 + axis] * static_cast<float>(size);
    return neighbours(reference[axis], size, shift_px);
  }
};

}  // namespace hyperseg
